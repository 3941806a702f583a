//! Keeps a silent connection alive, and finds out when it is not.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_host_protocol::message::Beat;
use rpc_host_protocol::{ExchangeId, Message};

use super::Shared;
use crate::error::Error;

/// No more often than this, whatever idle timeout the host announces.
const MIN_BEAT: Duration = Duration::from_millis(50);
/// No less often: a dead host should be noticed within a minute.
const MAX_BEAT: Duration = Duration::from_secs(15);
/// After so many beats without a byte from the host, in all of which it was asked for one, it is gone.
const MAX_SILENT_BEATS: u32 = 3;

/// How often to look: three times within the host's idle timeout.
pub(super) fn beat(idle_timeout_ms: u64) -> Duration {
    Duration::from_millis(idle_timeout_ms / 3).clamp(MIN_BEAT, MAX_BEAT)
}

/// Runs until the connection is over.
pub(super) async fn run(shared: Weak<Shared>, beat: Duration) {
    let mut ticks = tokio::time::interval(beat);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut silent_beats = 0;
    let mut nonce = 0;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let heard = shared.heard.swap(false, Ordering::Relaxed);
        let spoke = shared.spoke.swap(false, Ordering::Relaxed);
        silent_beats = if heard { 0 } else { silent_beats + 1 };
        if silent_beats > MAX_SILENT_BEATS {
            let silence = beat * silent_beats;
            shared.end(Error::lost(format!(
                "not a sign of life from the host for {silence:?}"
            )));
        }
        if shared.state().end.is_some() {
            return;
        }
        if !heard || !spoke {
            nonce += 1;
            let ping = Message::Ping(Beat { nonce });
            let ping = ping.encode(ExchangeId::CONNECTION);
            shared.state().outbox.append(ping);
            shared.write_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_beats_fit_into_the_idle_timeout() {
        assert_eq!(beat(3_000), Duration::from_secs(1));
        assert_eq!(beat(0), MIN_BEAT);
        assert_eq!(beat(u64::MAX), MAX_BEAT);
    }
}
