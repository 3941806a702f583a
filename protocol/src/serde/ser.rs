//! Rust → CBOR.

mod output;
mod series;

use serde::{Serialize, ser};

use super::error::Misfit;
use super::handle;
use super::name::kebab;
use crate::cbor::Writer;
use crate::value::ValueError;

pub(super) use output::Output;
use series::{Series, SeriesKind};

/// A Rust value as one CBOR item. `root` names it in errors.
pub fn to_cbor<T: Serialize + ?Sized>(value: &T, root: &str) -> Result<Vec<u8>, ValueError> {
    let mut output = Output::default();
    output.write(value).map_err(|misfit| misfit.at_root(root))?;
    Ok(output.into_bytes())
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

    fn series_of_unknown_length(self, is_map: bool) -> Series<'a> {
        let outer = self.output.set_aside();
        self.series(0, SeriesKind::Buffered { outer, is_map })
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
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        if name == handle::TYPE
            && let Some(tag) = handle::tag_of(variant)
        {
            self.output.writer().tag(tag);
            return self.output.write(value);
        }
        self.case(variant)
            .write(value)
            .map_err(|misfit| misfit.in_field(&kebab(variant)))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Series<'a>, Misfit> {
        let Some(length) = length else {
            return Ok(self.series_of_unknown_length(false));
        };
        self.output.begin_list(length);
        Ok(self.series(length, SeriesKind::Announced))
    }

    fn serialize_tuple(self, length: usize) -> Result<Series<'a>, Misfit> {
        self.output.writer().array(length);
        Ok(self.series(length, SeriesKind::Announced))
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
            return Ok(self.series_of_unknown_length(true));
        };
        self.output.writer().map(length);
        Ok(self.series(length, SeriesKind::Announced))
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
