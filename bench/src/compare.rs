//! The comparison: every side does the same work, in rounds that are interleaved, so that whatever else the machine
//! does meets all of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rpc_host_bench_measure::Work;
use rpc_host_client::{Client, Module, Options, Profile};

use crate::book::{ALONE, BESIDE, Book, OURS, RAW, RAW_STREAMED, Row, TONIC, Unit};
use crate::host::Host;
use crate::raw::Manner;
use crate::side::{Server, Side};
use crate::{cold, links, machine, ours, registrations, report, swaps};

/// What is wanted.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// The core rows alone, in some minutes.
    quick: bool,
    /// A file for the figures.
    json: Option<PathBuf>,
    /// A folder for the figures and a picture, under names of their own.
    results: Option<PathBuf>,
    /// Where the programs of the peers are.
    peers: Option<PathBuf>,
    /// What `wasmtime serve` is given.
    http_guest: Option<PathBuf>,
    /// A Python that has RPyC and this project's client, and the program that it runs.
    python: Option<(PathBuf, PathBuf)>,
}

impl Wish {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Wish> {
        let mut wish = Wish::default();
        while let Some(argument) = arguments.next() {
            let mut path = || {
                let path = arguments.next().map(PathBuf::from);
                path.with_context(|| format!("{} needs a value", argument.display()))
            };
            match argument.to_str() {
                Some("--quick") => wish.quick = true,
                Some("--json") => wish.json = Some(path()?),
                Some("--results") => wish.results = Some(path()?),
                Some("--peers") => wish.peers = Some(path()?),
                Some("--http-guest") => wish.http_guest = Some(path()?),
                Some("--python") => wish.python = Some((path()?, path()?)),
                _ => bail!("what is {}?", argument.display()),
            }
        }
        Ok(wish)
    }
}

/// How much is done. Each row has one round more, which warms up and is not counted.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    /// Rounds of rows that take long.
    long_rounds: usize,
    /// How long a rate is measured in a round.
    rate: Duration,
    /// Small calls in a round, beside large replies or alone.
    small: usize,
}

const FULL: Extent = Extent {
    rounds: 20,
    long_rounds: 12,
    rate: Duration::from_millis(300),
    small: 100,
};

const QUICK: Extent = Extent {
    rounds: 16,
    long_rounds: 12,
    rate: Duration::from_millis(300),
    small: 100,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// A message holds 16 MiB by default, with what stands around the bytes.
const NEARLY_16_MIB: usize = 16 * MIB - KIB;

/// One call after the other: for programs, for people, the work, and calls in a round.
const WORK: &[(&str, &str, Work, usize)] = &[
    ("add", "add(s64, s64)", Work::Add, 200),
    ("bytes-1kib", "echo of 1 KiB", Work::Bytes(KIB), 120),
    ("bytes-64kib", "echo of 64 KiB", Work::Bytes(64 * KIB), 60),
    ("bytes-1mib", "echo of 1 MiB", Work::Bytes(MIB), 15),
    (
        "bytes-16mib",
        "echo of 16 MiB",
        Work::Bytes(NEARLY_16_MIB),
        3,
    ),
    (
        "records-1000",
        "echo of 1,000 records of two numbers",
        Work::Records(1000),
        40,
    ),
    ("text-1kib", "echo of a text of 1 KiB", Work::Text(KIB), 120),
];

/// What a quick run has of it.
const CORE: &[&str] = &["add", "bytes-1mib", "bytes-16mib"];

/// Connections, and calls under way on all of them.
const TOGETHER: &[(usize, usize)] = &[
    (1, 1),
    (1, 8),
    (1, 64),
    (1, 256),
    (16, 1),
    (16, 8),
    (16, 64),
    (16, 256),
];
const CORE_TOGETHER: &[(usize, usize)] = &[(1, 64)];

const WASMTIME_SERVE: &str = "wasmtime serve, HTTP without TLS";
/// Who has one call under way on a connection.
const ONE_AT_A_TIME: &[&str] = &[RAW, RAW_STREAMED, WASMTIME_SERVE];

/// Measures all of it, shows it, and writes it down.
pub(crate) async fn measure(program: &Path, modules: &Path, wish: &Wish) -> Result<()> {
    let machine = machine::description();
    println!("{machine}\n");
    let mut host = Host::start(program).await?;
    let guests = Guests::new(&host, modules).await?;
    guests.register("calc", ours::CALC).await?;
    guests.register("kitchen-sink", ours::SINK).await?;
    let maker = wat::parse_str(ours::makes(NEARLY_16_MIB))?;
    guests.add(maker, ours::MAKER).await?;

    let extent = if wish.quick { QUICK } else { FULL };
    let mut book = Book::default();
    let mut sides = sides(&host, wish).await?;
    one_after_the_other(&mut sides, extent, wish.quick, &mut book).await?;
    together(&mut sides, extent, wish.quick, &mut book).await?;
    beside_large_replies(&mut sides, extent, &mut book).await?;
    let problems: Vec<_> = sides
        .iter()
        .flat_map(|side| &side.problems)
        .cloned()
        .collect();
    drop(sides);
    if !wish.quick {
        links::measure(&guests, &mut book).await?;
        swaps::measure(&guests.client, &mut book).await?;
        cold::measure(&guests, &mut book).await?;
        cold::restarts(&mut host, &guests, &mut book).await?;
    }
    host.stop().await?;
    registrations::measure(program, modules, &mut book).await?;

    for (name, ratio) in book.ratios() {
        println!("{name:<44} {ratio:>8.3}");
    }
    if let Some(path) = &wish.json {
        report::write(&book, &machine, path)?;
        println!("\nfigures: {}", path.display());
    }
    if let Some(folder) = &wish.results {
        for path in report::keep(&book, &machine, folder)? {
            println!("kept: {}", path.display());
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Everybody who is there, this project and the floor first.
async fn sides(host: &Host, wish: &Wish) -> Result<Vec<Side>> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = certificate(folder.path())?;
    let of_server = |words: &[&str]| {
        let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
        words.extend([certificate.clone().into(), key.clone().into()]);
        words
    };
    let to_server = |words: &[&str], server: &Server| {
        let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
        words.extend([server.address.clone().into(), certificate.clone().into()]);
        words
    };
    let own = std::env::current_exe()?;
    let mut sides = Vec::new();
    for (name, manner) in [(RAW, Manner::Whole), (RAW_STREAMED, Manner::Streamed)] {
        let server = of_server(&["serve", "raw", manner.name()]);
        let server = Server::start(&own, &server).await?;
        let client = to_server(&["client", "raw", manner.name()], &server);
        sides.push(Side::start(name, Some(server), &own, &client).await?);
    }
    let profile: OsString = host.profile().into();
    let client = ["client".into(), OURS.into(), profile.clone()];
    sides.push(Side::start(OURS, None, &own, &client).await?);
    if let Some(peers) = &wish.peers {
        let program = peers.join("peers");
        for (name, kind) in [(TONIC, "tonic"), ("tarpc over TLS", "tarpc")] {
            if wish.quick && name != TONIC {
                continue;
            }
            let server = Server::start(&program, &of_server(&["serve", kind])).await?;
            let client = to_server(&["client", kind], &server);
            sides.push(Side::start(name, Some(server), &program, &client).await?);
        }
        if let Some(guest) = wish.http_guest.as_ref().filter(|_| !wish.quick) {
            // What the guest's standard library imports is there, and does nothing.
            let words = ["-S", "cli", "--addr", "127.0.0.1:0"].map(OsString::from);
            let words: Vec<_> = words.into_iter().chain([guest.into()]).collect();
            let server = Server::start_http(&peers.join("wasmtime-serve"), &words).await?;
            let client = [
                "client".into(),
                "http".into(),
                server.address.clone().into(),
            ];
            sides.push(Side::start(WASMTIME_SERVE, Some(server), &program, &client).await?);
        }
    }
    if let Some((python, script)) = wish.python.as_ref().filter(|_| !wish.quick) {
        let word = |word: &str| OsString::from(word);
        let script: OsString = script.into();
        for (name, kind) in [
            ("RPyC over TLS, from Python", "rpyc"),
            ("multiprocessing.connection, no TLS", "multiprocessing"),
        ] {
            let mut server = vec![script.clone(), word("serve"), word(kind)];
            server.extend([certificate.clone().into(), key.clone().into()]);
            let server = Server::start(python, &server).await?;
            let mut client = vec![script.clone(), word("client"), word(kind)];
            client.extend([server.address.clone().into(), certificate.clone().into()]);
            sides.push(Side::start(name, Some(server), python, &client).await?);
        }
        let client = [script, word("client"), word(OURS), profile];
        sides.push(Side::start("rpc-host, from Python", None, python, &client).await?);
    }
    // Who was started has read the certificate.
    drop(folder);
    Ok(sides)
}

/// Of a server that is nobody's but this run's.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names)?;
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    std::fs::write(&certificate, certified.cert.pem())?;
    std::fs::write(&key, certified.signing_key.serialize_pem())?;
    Ok((certificate, key))
}

async fn one_after_the_other(
    sides: &mut [Side],
    extent: Extent,
    quick: bool,
    book: &mut Book,
) -> Result<()> {
    for (id, title, work, count) in WORK {
        if quick && !CORE.contains(id) {
            continue;
        }
        let mut row = Row::new(*id, *title, Unit::Time);
        for round in 0..=extent.rounds {
            for place in turns(sides.len(), round) {
                let Some(side) = sides.get_mut(place) else {
                    continue;
                };
                if let Some(times) = side.times(*work, *count).await?.filter(|_| round > 0) {
                    row.add(side.name(), times);
                }
            }
        }
        enter(row, sides, book);
    }
    Ok(())
}

async fn together(sides: &mut [Side], extent: Extent, quick: bool, book: &mut Book) -> Result<()> {
    for &(connections, in_flight) in if quick { CORE_TOGETHER } else { TOGETHER } {
        let s = if connections == 1 { "" } else { "s" };
        let mut row = Row::new(
            format!("rate-{connections}-{in_flight}"),
            format!("{in_flight} in flight, {connections} connection{s}"),
            Unit::Rate,
        );
        for round in 0..=extent.long_rounds {
            for place in turns(sides.len(), round) {
                let Some(side) = sides.get_mut(place) else {
                    continue;
                };
                if ONE_AT_A_TIME.contains(&side.name()) && in_flight > connections {
                    continue;
                }
                let rate = side.rate(connections, in_flight, extent.rate).await?;
                if let Some(rate) = rate.filter(|_| round > 0) {
                    row.add(side.name(), vec![rate]);
                }
            }
        }
        enter(row, sides, book);
    }
    Ok(())
}

async fn beside_large_replies(sides: &mut [Side], extent: Extent, book: &mut Book) -> Result<()> {
    let mut alone = Row::new(ALONE, "add(s64, s64), alone", Unit::Time);
    let mut beside = Row::new(BESIDE, "the same beside replies of 16 MiB", Unit::Time);
    for round in 0..=extent.long_rounds {
        for place in turns(sides.len(), round) {
            let Some(side) = sides.get_mut(place) else {
                continue;
            };
            let Some(with) = side.beside(NEARLY_16_MIB, extent.small).await? else {
                continue;
            };
            let without = side.beside(0, extent.small).await?.unwrap_or_default();
            if round > 0 {
                beside.add(side.name(), with);
                alone.add(side.name(), without);
            }
        }
    }
    enter(alone, sides, book);
    enter(beside, sides, book);
    Ok(())
}

/// Whose turn it is one after the other, in each round another one first.
fn turns(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + round) % count)
}

/// Keeps a row, its sides in the order of all.
fn enter(mut row: Row, sides: &[Side], book: &mut Book) {
    let place = |name: &str| sides.iter().position(|side| side.name() == name);
    row.sides.sort_by_key(|side| place(&side.name));
    book.enter(row);
}

/// A node's client, and the components that it may upload.
pub(crate) struct Guests {
    pub(crate) profile: Profile,
    pub(crate) client: Client,
    modules: PathBuf,
}

impl Guests {
    pub(crate) async fn new(host: &Host, modules: &Path) -> Result<Guests> {
        let profile = Profile::from_file(host.profile())?;
        Ok(Guests {
            client: Client::connect(profile.clone()).await?,
            profile,
            modules: modules.to_owned(),
        })
    }

    /// The component of a guest.
    pub(crate) fn component(&self, file: &str) -> Result<Vec<u8>> {
        let path = self.modules.join(file).with_extension("wasm");
        std::fs::read(&path).with_context(|| path.display().to_string())
    }

    pub(crate) async fn register(&self, file: &str, name: &str) -> Result<Module> {
        self.add(self.component(file)?, name).await
    }

    pub(crate) async fn add(&self, wasm: Vec<u8>, name: &str) -> Result<Module> {
        let module = self.client.upload_module(wasm).await?;
        self.client
            .register(name, &module, Options::default())
            .await?;
        Ok(module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_is_first_in_turn() {
        assert_eq!(turns(3, 0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turns(3, 2).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(turns(3, 4).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(turns(0, 1).count(), 0);
    }

    #[test]
    fn wishes_are_read_or_refused() {
        let parse = |line: &str| Wish::parse(line.split_whitespace().map(OsString::from));
        let wish = parse("--quick --json a.json --python py script.py").unwrap();
        assert!(wish.quick);
        assert_eq!(wish.json, Some(PathBuf::from("a.json")));
        assert_eq!(wish.python, Some(("py".into(), "script.py".into())));
        assert!(parse("--json").is_err());
        assert!(parse("--slow").is_err());
    }

    #[test]
    fn core_rows_are_rows() {
        for id in CORE {
            assert!(WORK.iter().any(|(found, ..)| found == id), "{id}");
        }
        assert!(CORE_TOGETHER.iter().all(|pair| TOGETHER.contains(pair)));
    }
}
