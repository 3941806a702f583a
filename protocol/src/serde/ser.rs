//! Rust → CBOR.

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::error::Misfit;
use super::name::kebab;
use crate::cbor::Writer;
use crate::value::ValueError;

/// A Rust value as one CBOR item. `root` names it in errors.
pub fn to_cbor<T: Serialize + ?Sized>(value: &T, root: &str) -> Result<Vec<u8>, ValueError> {
    let mut output = Output::default();
    output.write(value).map_err(|misfit| misfit.at_root(root))?;
    Ok(output.into_bytes())
}

/// What has been written, and a list that may turn out to be bytes.
///
/// serde shows a `Vec<u8>` as a list of numbers. So a list is held back for as long as it has nothing
/// but `u8` in it, and is written as bytes if it ends like that. Anything else written first settles
/// that it is a list; so the list held back is always the innermost one.
#[derive(Debug, Default)]
pub(super) struct Output {
    writer: Writer,
    held_back: Option<HeldBack>,
}

#[derive(Debug)]
struct HeldBack {
    length: usize,
    bytes: Vec<u8>,
}

/// The most that is reserved on the word of a `Serialize` about its length.
const MAX_RESERVED_BYTES: usize = 1 << 20;

impl Output {
    pub(super) fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        value.serialize(Encoder {
            output: self,
            in_some: false,
        })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.writer.into_bytes()
    }

    pub(super) fn writer(&mut self) -> &mut Writer {
        if let Some(HeldBack { length, bytes }) = self.held_back.take() {
            self.writer.array(length);
            for byte in bytes {
                self.writer.unsigned(u64::from(byte));
            }
        }
        &mut self.writer
    }

    fn byte(&mut self, byte: u8) {
        match &mut self.held_back {
            Some(list) => list.bytes.push(byte),
            None => self.writer.unsigned(u64::from(byte)),
        }
    }

    fn begin_list(&mut self, length: usize) {
        self.writer();
        self.held_back = Some(HeldBack {
            length,
            bytes: Vec::with_capacity(length.min(MAX_RESERVED_BYTES)),
        });
    }

    fn end_list(&mut self) {
        match self.held_back.take() {
            None => {}
            Some(list) if list.bytes.is_empty() => self.writer.array(0),
            Some(list) => self.writer.byte_string(&list.bytes),
        }
    }
}

/// Writes one value.
struct Encoder<'a> {
    output: &'a mut Output,
    /// The value is what an option holds: if it is an option itself, it says so.
    in_some: bool,
}

impl<'a> Encoder<'a> {
    fn writer(self) -> &'a mut Writer {
        self.output.writer()
    }

    /// Begins `{name: …}`, in which the payload of a case follows.
    fn case(self, name: &str) -> &'a mut Output {
        let writer = self.output.writer();
        writer.map(1);
        writer.text(&kebab(name));
        self.output
    }

    fn series(self, announced: usize, kind: SeriesKind) -> Series<'a> {
        Series {
            output: self.output,
            kind,
            announced,
            written: 0,
            case: None,
        }
    }

    fn series_of_unknown_length(self, kind: SeriesKind) -> Series<'a> {
        self.output.writer();
        let outer = std::mem::take(&mut self.output.writer);
        self.series(
            0,
            SeriesKind::Buffered {
                outer,
                is_map: matches!(kind, SeriesKind::Map),
            },
        )
    }
}

impl<'a> ser::Serializer for Encoder<'a> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Series<'a>;
    type SerializeTuple = Series<'a>;
    type SerializeTupleStruct = Series<'a>;
    type SerializeTupleVariant = Series<'a>;
    type SerializeMap = Series<'a>;
    type SerializeStruct = Series<'a>;
    type SerializeStructVariant = Series<'a>;

    /// What has a text form takes it: WIT has no types for addresses, times and ids.
    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_bool(self, value: bool) -> Result<(), Misfit> {
        self.writer().bool(value);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Misfit> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<(), Misfit> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<(), Misfit> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<(), Misfit> {
        self.writer().signed(value);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Misfit> {
        self.output.byte(value);
        Ok(())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Misfit> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<(), Misfit> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<(), Misfit> {
        self.writer().unsigned(value);
        Ok(())
    }

    fn serialize_i128(self, _: i128) -> Result<(), Misfit> {
        Err(Misfit::new("i128 has no type in wit; use s64 or text"))
    }

    fn serialize_u128(self, _: u128) -> Result<(), Misfit> {
        Err(Misfit::new("u128 has no type in wit; use u64 or text"))
    }

    fn serialize_f32(self, value: f32) -> Result<(), Misfit> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Misfit> {
        self.writer().float(value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Misfit> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Misfit> {
        self.writer().text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Misfit> {
        self.writer().byte_string(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Misfit> {
        let in_some = self.in_some;
        let writer = self.writer();
        if in_some {
            writer.map(1);
            writer.text("some");
        }
        writer.null();
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Misfit> {
        // Also settles that a list which holds this option is not bytes.
        let writer = self.output.writer();
        if self.in_some {
            writer.map(1);
            writer.text("some");
        }
        value.serialize(Encoder {
            output: self.output,
            in_some: true,
        })
    }

    fn serialize_unit(self) -> Result<(), Misfit> {
        if self.in_some {
            let problem = "some(()) cannot be told from none; an option of nothing is a bool";
            return Err(Misfit::new(problem));
        }
        self.writer().null();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Misfit> {
        self.writer().map(0);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Misfit> {
        self.serialize_str(&kebab(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        value.serialize(self)
    }

    /// Also `Ok` and `Err` of a `Result`.
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        self.case(variant)
            .write(value)
            .map_err(|misfit| misfit.in_field(&kebab(variant)))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Series<'a>, Misfit> {
        let Some(length) = length else {
            return Ok(self.series_of_unknown_length(SeriesKind::Array));
        };
        self.output.begin_list(length);
        Ok(self.series(length, SeriesKind::Array))
    }

    fn serialize_tuple(self, length: usize) -> Result<Series<'a>, Misfit> {
        self.output.writer().array(length);
        Ok(self.series(length, SeriesKind::Array))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Series<'a>, Misfit> {
        self.serialize_tuple(length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Series<'a>, Misfit> {
        let output = self.case(variant);
        let mut series = Encoder {
            output,
            in_some: false,
        }
        .serialize_tuple(length)?;
        series.case = Some(variant);
        Ok(series)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Series<'a>, Misfit> {
        let Some(length) = length else {
            return Ok(self.series_of_unknown_length(SeriesKind::Map));
        };
        self.output.writer().map(length);
        Ok(self.series(length, SeriesKind::Map))
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Series<'a>, Misfit> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Series<'a>, Misfit> {
        let output = self.case(variant);
        let mut series = Encoder {
            output,
            in_some: false,
        }
        .serialize_map(Some(length))?;
        series.case = Some(variant);
        Ok(series)
    }
}

/// Writes what has parts: the parts follow a head that announced how many there are.
struct Series<'a> {
    output: &'a mut Output,
    kind: SeriesKind,
    announced: usize,
    written: usize,
    /// The case whose payload this is, for the path of an error.
    case: Option<&'static str>,
}

enum SeriesKind {
    Array,
    Map,
    /// The length is known at the end only, so the parts are written aside.
    Buffered {
        outer: Writer,
        is_map: bool,
    },
}

impl Series<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        let index = self.written;
        self.written += 1;
        self.output
            .write(value)
            .map_err(|misfit| self.in_case(misfit.in_index(index)))
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Misfit> {
        self.written += 1;
        let name = kebab(name);
        self.output.writer().text(&name);
        self.output
            .write(value)
            .map_err(|misfit| self.in_case(misfit.in_field(&name)))
    }

    fn in_case(&self, misfit: Misfit) -> Misfit {
        match self.case {
            None => misfit,
            Some(case) => misfit.in_field(&kebab(case)),
        }
    }

    fn finish(self) -> Result<(), Misfit> {
        if let SeriesKind::Buffered { outer, is_map } = self.kind {
            let parts = std::mem::replace(&mut self.output.writer, outer).into_bytes();
            let writer = &mut self.output.writer;
            if is_map {
                writer.map(self.written);
            } else {
                writer.array(self.written);
            }
            writer.raw(&parts);
            return Ok(());
        }
        if self.written != self.announced {
            return Err(Misfit::new(format!(
                "announced {} elements and gave {}",
                self.announced, self.written
            )));
        }
        Ok(())
    }
}

impl SerializeSeq for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.element(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.output.end_list();
        self.finish()
    }
}

impl SerializeTuple for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.element(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeTupleStruct for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.element(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeTupleVariant for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.element(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeMap for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Misfit> {
        let index = self.written;
        self.written += 1;
        self.output
            .write(key)
            .map_err(|misfit| misfit.in_index(index))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        let index = self.written.saturating_sub(1);
        self.output
            .write(value)
            .map_err(|misfit| misfit.in_index(index))
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeStruct for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeStructVariant for Series<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}
