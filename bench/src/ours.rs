//! This project's own client, measured as the others are.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use rpc_host_bench_measure::{Caller, Clients, Record};
use rpc_host_client::{Client, NamedModule, Profile};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The names of what is called.
pub(crate) const CALC: &str = "calc";
pub(crate) const SINK: &str = "sink";
pub(crate) const MAKER: &str = "blob";

/// A component that makes so many bytes, each of them written.
pub(crate) fn makes(length: usize) -> String {
    let pages = length.div_ceil(65_536) + 1;
    format!(
        r#"(component
            (core module $m
                (memory (export "memory") {pages})
                (func (export "make") (result i32)
                    (memory.fill (i32.const 65536) (i32.const 7) (i32.const {length}))
                    (i32.store (i32.const 0) (i32.const 65536))
                    (i32.store (i32.const 4) (i32.const {length}))
                    (i32.const 0)))
            (core instance $i (instantiate $m))
            (func (export "make") (result (list u8))
                (canon lift (core func $i "make") (memory $i "memory"))))"#
    )
}

/// Whoever connects to a node.
pub(crate) struct Sessions {
    profile: Profile,
}

impl Sessions {
    pub(crate) fn new(profile: &Path) -> Result<Sessions> {
        let profile = Profile::from_file(profile)?;
        Ok(Sessions { profile })
    }
}

impl Clients for Sessions {
    type Caller = Session;

    async fn connect(&self) -> Result<Session> {
        let client = Client::connect(self.profile.clone()).await?;
        Ok(Session {
            calc: client.module(CALC),
            sink: client.module(SINK),
            maker: client.module(MAKER),
        })
    }
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Session {
    calc: NamedModule,
    sink: NamedModule,
    maker: NamedModule,
}

#[derive(Deserialize, Serialize)]
struct Point {
    x: i32,
    y: i32,
}

impl Caller for Session {
    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.calc.call("add", (a, b)).await?)
    }

    async fn bytes(&self, bytes: Bytes) -> Result<Bytes> {
        let Octets(back) = self.sink.call("echo_bytes", (Octets(bytes),)).await?;
        Ok(back)
    }

    async fn records(&self, records: Vec<Record>) -> Result<Vec<Record>> {
        let points: Vec<_> = records
            .iter()
            .map(|&Record { x, y }| Point { x, y })
            .collect();
        let back: Vec<Point> = self.sink.call("echo_points", (points,)).await?;
        Ok(back.iter().map(|&Point { x, y }| Record { x, y }).collect())
    }

    async fn text(&self, text: String) -> Result<String> {
        Ok(self.sink.call("echo_string", (text,)).await?)
    }

    /// As many as the module was made for.
    async fn make(&self, _length: u32) -> Result<Bytes> {
        let Octets(made) = self.maker.call("make", ()).await?;
        Ok(made)
    }
}

/// Bytes in one piece, rather than one by one.
struct Octets(Bytes);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(OctetsVisitor)
    }
}

struct OctetsVisitor;

impl Visitor<'_> for OctetsVisitor {
    type Value = Octets;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Octets, E> {
        Ok(Octets(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Octets, E> {
        Ok(Octets(bytes.into()))
    }
}
