//! What has parts: lists, tuples, records, maps, and cases that carry several values.

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::Output;
use crate::cbor::Writer;
use crate::serde::error::Misfit;
use crate::serde::name::kebab;

/// Writes what has parts: the parts follow a head that announced how many there are.
pub(super) struct Series<'a> {
    pub(super) output: &'a mut Output,
    pub(super) kind: SeriesKind,
    pub(super) announced: usize,
    pub(super) written: usize,
    /// The case whose payload this is, for the path of an error.
    pub(super) case: Option<&'static str>,
}

pub(super) enum SeriesKind {
    /// The length is written already.
    Announced,
    /// The length is known at the end only, so the parts are written aside.
    Buffered { outer: Writer, is_map: bool },
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
            let parts = self.output.put_back(outer);
            let writer = self.output.writer();
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
