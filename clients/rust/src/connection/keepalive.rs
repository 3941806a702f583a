//! Keeps a silent connection alive, and finds out when it is not.

use std::sync::Arc;
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
pub(super) fn beat(idle_timeout: Duration) -> Duration {
    (idle_timeout / 3).clamp(MIN_BEAT, MAX_BEAT)
}

/// The same while a lease stands: what is said right after one look is not said again before the one
/// after next, and that has to be within half of the lease.
fn beat_of_lease(lease: Duration) -> Duration {
    (lease / 4).clamp(MIN_BEAT, MAX_BEAT)
}

/// Runs until the connection is over.
pub(super) async fn run(shared: Arc<Shared>, beat: Duration) {
    // Leases make it speak more often; they do not make it lose patience with the host earlier.
    let patience = beat * MAX_SILENT_BEATS;
    // As long as this task has been running: while the whole program was stopped, nobody listened.
    let mut silence = Duration::ZERO;
    let mut nonce = 0;
    loop {
        let lease = shared.state().serving.shortest_lease();
        let pause = lease.map_or(beat, |lease| beat_of_lease(lease).min(beat));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.keepalive_wanted.notified() => {
                if shared.state().end.is_some() {
                    return;
                }
                continue;
            }
        }
        let heard = shared.heard.swap(false, Ordering::Relaxed);
        let spoke = shared.spoke.swap(false, Ordering::Relaxed);
        silence = if heard {
            Duration::ZERO
        } else {
            silence + pause
        };
        if silence > patience {
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
    fn three_beats_fit_into_the_idle_timeout_and_four_into_a_lease() {
        assert_eq!(beat(Duration::from_secs(3)), Duration::from_secs(1));
        assert_eq!(beat(Duration::ZERO), MIN_BEAT);
        assert_eq!(beat(Duration::MAX), MAX_BEAT);
        assert_eq!(
            beat_of_lease(Duration::from_secs(10)),
            Duration::from_millis(2500)
        );
        assert_eq!(beat_of_lease(Duration::ZERO), MIN_BEAT);
    }
}
