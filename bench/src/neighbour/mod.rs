//! What hostile tenants can do to another tenant of the node, and how fast a guest that never ends is
//! gone.
//!
//! The attackers are a process of low priority, so what they need themselves takes little from the
//! others; they and the victim share the machine with the node all the same. Rounds alone and attacked
//! are interleaved, and what is compared are medians of them.

pub(crate) mod attack;
mod guests;
mod raw;
mod runaway;
mod victim;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rpc_host_client::{Client, Options, Profile, TokenRequest};

use crate::host::Host;
use attack::{Attackers, Kind, Target};

/// Attackers at once, in the second half of the table.
const MANY: usize = 8;
/// What is left of an attack when the attackers are gone gets this time to end.
const CALM: Duration = Duration::from_millis(500);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    rounds: usize,
    window: Duration,
    runaways: usize,
}

impl Extent {
    pub(crate) const FULL: Extent = Extent {
        rounds: 5,
        window: Duration::from_secs(2),
        runaways: 200,
    };
    /// To see that all of it works; the figures say little.
    pub(crate) const SHORT: Extent = Extent {
        rounds: 1,
        window: Duration::from_millis(200),
        runaways: 8,
    };
}

pub(crate) async fn measure(program: &Path, modules: &Path, extent: Extent) -> Result<()> {
    let host = Host::start(program).await?;
    let address = host.address().to_owned();
    let profile = std::fs::read_to_string(host.profile())?;
    let profile: toml::Table = profile.parse()?;
    let text = |key: &str| {
        let value = profile.get(key).and_then(toml::Value::as_str);
        value.map(str::to_owned).context("a profile")
    };
    let operator = Client::connect(Profile::from_file(host.profile())?).await?;
    let mut targets = Vec::new();
    for number in 0..=MANY {
        let tenant = format!("tenant-{number}");
        operator.tenant_create(&tenant).await?;
        let request = TokenRequest {
            tenant: Some(tenant),
            role: "admin".to_owned(),
            expires_in: None,
        };
        targets.push(Target {
            address: address.clone(),
            ca: text("ca")?,
            token: operator.token_create(request).await?.token,
        });
    }
    let (victim, attackers) = targets.split_first().context("targets")?;
    let victim = Client::connect(victim.profile()).await?;
    let calc = victim
        .upload_module(std::fs::read(modules.join("calc.wasm"))?)
        .await?;
    victim.register("calc", &calc, Options::default()).await?;
    victim::load(&victim, extent.window).await?;

    println!(
        "{:<26} {:>7} {:>7} {:>7} {:>9} {:>7} {:>7} {:>9} {:>7} {:>7}",
        "victim's p99 beside",
        "alone",
        "one",
        "eight",
        "p50 alone",
        "one",
        "eight",
        "p99 ratio",
        "one",
        "eight"
    );
    for kind in Kind::ALL {
        let mut found = [const { Vec::new() }; 3];
        for _ in 0..extent.rounds {
            for (times, count) in found.iter_mut().zip([0, 1, MANY]) {
                let hostile = attackers.get(..count).unwrap_or_default();
                let attack = match hostile {
                    [] => None,
                    some => Some(Attackers::start(kind, some).await?),
                };
                times.push(victim::load(&victim, extent.window).await?);
                if let Some(attack) = attack {
                    attack.end().await?;
                    tokio::time::sleep(CALM.min(extent.window)).await;
                }
            }
        }
        row(kind, &found);
    }
    runaway::measure(&victim, extent.runaways, MANY).await?;
    host.stop().await
}

fn row(kind: Kind, found: &[Vec<Vec<Duration>>; 3]) {
    let of = |thousandth: usize| {
        found
            .each_ref()
            .map(|rounds| median(rounds.iter().map(|times| at(times, thousandth)).collect()))
    };
    let ([alone, one, eight], [alone50, one50, eight50]) = (of(990), of(500));
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let ratio = |time: Duration| time.as_secs_f64() / alone.as_secs_f64();
    println!(
        "{:<26} {:>7.0} {:>7.0} {:>7.0} {:>9.0} {:>7.0} {:>7.0} {:>9} {:>7.2} {:>7.2}",
        kind.name(),
        micros(alone),
        micros(one),
        micros(eight),
        micros(alone50),
        micros(one50),
        micros(eight50),
        "",
        ratio(one),
        ratio(eight)
    );
    let [alone, one, eight] = found.each_ref().map(|rounds| at(&rounds.concat(), 999));
    println!(
        "{:<26} {:>7.0} {:>7.0} {:>7.0}",
        "  p99.9 of all rounds",
        micros(alone),
        micros(one),
        micros(eight)
    );
}

fn at(times: &[Duration], thousandth: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times
        .get(times.len() * thousandth / 1000)
        .copied()
        .unwrap_or_default()
}

fn median(times: Vec<Duration>) -> Duration {
    at(&times, 500)
}
