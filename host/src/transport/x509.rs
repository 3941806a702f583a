//! The parts of certificates and revocation lists that the TLS library reads for itself and does not
//! tell. Strict: what is not encoded by the distinguished rules is nothing.
//!
//! Whether anything of it is true is for others to find out.

use rustls::crypto::WebPkiSupportedAlgorithms;
use yasna::models::ObjectIdentifier;
use yasna::tags::{TAG_INTEGER, TAG_UTCTIME};
use yasna::{ASN1Result, BERReader, BERReaderSeq, Tag, parse_der};

const VERSION: u64 = 0;
const ISSUER_UNIQUE_ID: u64 = 1;
const SUBJECT_UNIQUE_ID: u64 = 2;
const EXTENSIONS: u64 = 3;
/// What makes a certificate have more than one meaning is refused, so twice the same, too.
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];
/// Among alternative names.
const URI: u64 = 6;
const LAST_KIND_OF_NAME: u64 = 8;

/// Of a certificate.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The number that its issuer gave it, as encoded.
    pub(super) serial: Vec<u8>,
    /// The last second that it is good for, since 1970.
    pub(super) last_second: i64,
    /// Whose it is, as encoded.
    pub(super) subject: Vec<u8>,
    /// The names of the kind URI.
    pub(super) uris: Vec<String>,
    /// Whether it says that it is for clients.
    pub(super) is_for_clients: bool,
    key: Key,
}

#[derive(Debug)]
struct Key {
    algorithm: Vec<u8>,
    bits: Vec<u8>,
}

/// Of a revocation list.
#[derive(Debug)]
pub(super) struct RevocationList {
    /// Who signed it, as encoded.
    pub(super) issuer: Vec<u8>,
    /// From when on it is out of date, since 1970; absent where it does not say.
    pub(super) next_update: Option<i64>,
    signed: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Certificate {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        parse_der(der, |reader| {
            reader.read_sequence(|parts| {
                let certificate = parts.next().read_sequence(contents)?;
                skip(parts)?;
                parts.next().read_bitvec_bytes()?;
                Ok(certificate)
            })
        })
        .ok()
        .flatten()
    }
}

/// None where an extension that is looked at here is no good.
fn contents(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Option<Certificate>> {
    parts.read_optional(|it| it.read_tagged(Tag::context(VERSION), |it| it.read_u8()))?;
    let serial = parts.next().read_tagged_der()?;
    skip(parts)?;
    skip(parts)?;
    let last_second = parts.next().read_sequence(|times| {
        seconds(times.next())?;
        seconds(times.next())
    })?;
    let subject = parts.next().read_der()?;
    let key = parts.next().read_sequence(|key| {
        let algorithm = key.next().read_tagged_der()?;
        let (bits, _unused) = key.next().read_bitvec_bytes()?;
        Ok(Key {
            algorithm: algorithm.value().to_vec(),
            bits,
        })
    })?;
    for unique_id in [ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID] {
        let tag = Tag::context(unique_id);
        parts.read_optional(|it| it.read_tagged_implicit(tag, |it| it.read_bitvec_bytes()))?;
    }
    let extensions = parts.read_optional(|it| {
        it.read_tagged(Tag::context(EXTENSIONS), |it| {
            it.collect_sequence_of(|it| it.read_sequence(extension))
        })
    })?;
    let extensions = extensions.unwrap_or_default();
    let (Ok(names), Ok(usage)) = (
        single(&extensions, ALTERNATIVE_NAMES),
        single(&extensions, EXTENDED_KEY_USAGE),
    ) else {
        return Ok(None);
    };
    let (Some(uris), Some(is_for_clients)) = (
        names.map_or(Some(Vec::new()), uris),
        usage.map_or(Some(false), is_for_clients),
    ) else {
        return Ok(None);
    };
    Ok((serial.tag() == TAG_INTEGER).then(|| Certificate {
        serial: serial.value().to_vec(),
        last_second,
        subject,
        uris,
        is_for_clients,
        key,
    }))
}

fn extension(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<(ObjectIdentifier, Vec<u8>)> {
    let name = parts.next().read_oid()?;
    let _is_critical = parts.read_optional(|it| it.read_bool())?;
    Ok((name, parts.next().read_bytes()?))
}

/// The one extension of a name, if there is one.
fn single<'a>(
    extensions: &'a [(ObjectIdentifier, Vec<u8>)],
    name: &[u64],
) -> Result<Option<&'a [u8]>, Twice> {
    let mut found = extensions
        .iter()
        .filter(|(present, _)| present.components() == name)
        .map(|(_, content)| content.as_slice());
    match (found.next(), found.next()) {
        (first, None) => Ok(first),
        _ => Err(Twice),
    }
}

struct Twice;

/// None where it is no list of names, or one of these URIs is no text.
fn uris(content: &[u8]) -> Option<Vec<String>> {
    let names = parse_der(content, |reader| {
        reader.collect_sequence_of(|name| name.read_tagged_der())
    });
    let mut uris = Vec::new();
    for name in names.ok()? {
        let kind = (0..=LAST_KIND_OF_NAME).find(|&kind| name.tag() == Tag::context(kind))?;
        if kind == URI {
            let uri = std::str::from_utf8(name.value()).ok()?;
            uris.push(uri.to_owned());
        }
    }
    Some(uris)
}

fn is_for_clients(content: &[u8]) -> Option<bool> {
    let purposes = parse_der(content, |reader| {
        reader.collect_sequence_of(|purpose| purpose.read_oid())
    });
    let purposes = purposes.ok()?;
    Some(purposes.iter().any(|one| one.components() == CLIENT_AUTH))
}

impl RevocationList {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        parse_der(der, |reader| {
            reader.read_sequence(|parts| {
                let signed = parts.next().read_der()?;
                let algorithm = parts.next().read_tagged_der()?;
                let (signature, _unused) = parts.next().read_bitvec_bytes()?;
                let (issuer, next_update) = parse_der(&signed, |reader| {
                    reader.read_sequence(|parts| {
                        parts.read_optional(|it| it.read_u8())?;
                        skip(parts)?;
                        let issuer = parts.next().read_der()?;
                        seconds(parts.next())?;
                        let next_update = parts.read_optional(|it| seconds(it))?;
                        // What follows is the TLS library's to read.
                        while parts.read_optional(|it| it.read_der())?.is_some() {}
                        Ok((issuer, next_update))
                    })
                })?;
                Ok(RevocationList {
                    issuer,
                    next_update,
                    signed,
                    algorithm: algorithm.value().to_vec(),
                    signature,
                })
            })
        })
        .ok()
    }

    /// Whether the key of this certificate signed it.
    pub(super) fn is_signed_by(
        &self,
        authority: &Certificate,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        algorithms.all.iter().any(|algorithm| {
            *algorithm.signature_alg_id() == *self.algorithm
                && *algorithm.public_key_alg_id() == *authority.key.algorithm
                && algorithm
                    .verify_signature(&authority.key.bits, &self.signed, &self.signature)
                    .is_ok()
        })
    }
}

fn skip(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<()> {
    parts.next().read_der().map(drop)
}

fn seconds(time: BERReader<'_, '_>) -> ASN1Result<i64> {
    if time.lookahead_tag()? == TAG_UTCTIME {
        return Ok(time.read_utctime()?.datetime().unix_timestamp());
    }
    Ok(time.read_generalized_time()?.datetime().unix_timestamp())
}
