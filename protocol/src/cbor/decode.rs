//! CBOR → [`Value`], directed by type; or a check alone, which makes nothing of what it reads.

use super::made::{Made, Seen};
use super::reader::{Head, Reader, SyntaxError};
use crate::types::{Case, Field, Name, NamePlaces, Parameter, ResultType, Signature, Type};
use crate::value::{Path, Value, ValueError, ValueLimits};

/// The value of type `ty` that these bytes, all of them, are. `root` names it in errors.
pub fn decode_value(
    bytes: &[u8],
    ty: &Type,
    root: &str,
    limits: ValueLimits,
) -> Result<Value, ValueError> {
    one(bytes, ty, root, limits)
}

/// That these bytes are a value of type `ty`, as [`decode_value`] reads it, and nothing else: the errors are the same.
pub fn check_value(
    bytes: &[u8],
    ty: &Type,
    root: &str,
    limits: ValueLimits,
) -> Result<(), ValueError> {
    one(bytes, ty, root, limits)
}

fn one<M: Made>(bytes: &[u8], ty: &Type, root: &str, limits: ValueLimits) -> Result<M, ValueError> {
    let path = Path::Root(root);
    let mut decoder = Decoder {
        reader: Reader::new(bytes, limits.max_items),
        max_depth: limits.max_depth,
        places: NamePlaces::default(),
    };
    let value = decoder.value(ty, path, 0)?;
    decoder.finish(path)?;
    Ok(value)
}

/// The arguments of a call, in the order of the signature: from the two items after its envelope, an
/// array of positional arguments and a map of named ones.
pub fn decode_arguments(
    bytes: &[u8],
    signature: &Signature,
    limits: ValueLimits,
) -> Result<Vec<Value>, ValueError> {
    arguments(bytes, signature, limits)
}

/// That these bytes are arguments of a call, as [`decode_arguments`] reads them, and nothing else: the errors
/// are the same.
pub fn check_arguments(
    bytes: &[u8],
    signature: &Signature,
    limits: ValueLimits,
) -> Result<(), ValueError> {
    arguments::<()>(bytes, signature, limits).map(|_nothing| ())
}

fn arguments<M: Made>(
    bytes: &[u8],
    signature: &Signature,
    limits: ValueLimits,
) -> Result<Vec<M>, ValueError> {
    let root = Path::Root("args");
    let parameters = &signature.parameters;
    let mut decoder = Decoder {
        reader: Reader::new(bytes, limits.max_items),
        max_depth: limits.max_depth,
        places: NamePlaces::default(),
    };
    let mut arguments = M::slots(parameters.len());

    let positional = match decoder.head(root)? {
        Head::Array(length) => length,
        other => return Err(decoder.mismatch(root, "an array of positional arguments", other)),
    };
    if positional > parameters.len() {
        let problem = format!("expected {}, got {positional}", counted(parameters.len()));
        return Err(ValueError::at(root, format!("{problem}: {signature}")));
    }
    for (index, parameter) in parameters.iter().take(positional).enumerate() {
        let value: M = decoder.value(&parameter.ty, Path::Index(&root, index), 1)?;
        value.fill(&mut arguments, index);
    }

    let named = match decoder.head(root)? {
        Head::Map(length) => length,
        other => return Err(decoder.mismatch(root, "a map of named arguments", other)),
    };
    for _ in 0..named {
        let name = decoder.key(root)?;
        let mut all = parameters.iter().enumerate();
        let found = all.find(|(_, parameter)| &*parameter.name == name);
        let path = Path::Field(&root, name);
        match found {
            None => {
                let problem = format!("no such parameter; the function is {signature}");
                return Err(ValueError::at(path, problem));
            }
            Some((index, _)) if M::is_filled(&arguments, index) => {
                return Err(ValueError::at(path, "given twice"));
            }
            Some((index, parameter)) => {
                let value: M = decoder.value(&parameter.ty, path, 1)?;
                value.fill(&mut arguments, index);
            }
        }
    }
    decoder.finish(root)?;
    M::all(arguments, parameters.len(), |index| {
        let Some(Parameter { name, ty }) = parameters.get(index) else {
            return Err(ValueError::at(root, "no such parameter"));
        };
        let problem =
            format!("missing argument `{name}`: expected {ty}; the function is {signature}");
        Err(ValueError::at(Path::Index(&root, index), problem))
    })
}

fn counted(arguments: usize) -> String {
    match arguments {
        0 => "no arguments".to_owned(),
        1 => "1 argument".to_owned(),
        n => format!("{n} arguments"),
    }
}

struct Decoder<'a, 't> {
    reader: Reader<'a>,
    max_depth: u32,
    places: NamePlaces<'t>,
}

impl<'a, 't> Decoder<'a, 't> {
    fn head(&mut self, path: Path<'_>) -> Result<Head<'a>, ValueError> {
        self.reader.head().map_err(|error| syntax(path, &error))
    }

    fn peek(&mut self, path: Path<'_>) -> Result<Head<'a>, ValueError> {
        self.reader.peek().map_err(|error| syntax(path, &error))
    }

    fn finish(&mut self, path: Path<'_>) -> Result<(), ValueError> {
        self.reader.finish().map_err(|error| syntax(path, &error))
    }

    fn key(&mut self, path: Path<'_>) -> Result<&'a str, ValueError> {
        match self.head(path)? {
            Head::Text(text) => Ok(text),
            other => Err(self.mismatch(path, "a name as key", other)),
        }
    }

    fn mismatch(&self, path: Path<'_>, expected: impl ToString, found: Head<'_>) -> ValueError {
        let problem = format!("expected {}, got {}", expected.to_string(), found.name());
        ValueError::at(path, problem)
    }

    fn value<M: Made>(
        &mut self,
        ty: &'t Type,
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        if depth > self.max_depth {
            let problem = format!("nested deeper than {} levels", self.max_depth);
            return Err(ValueError::at(path, problem));
        }
        match ty {
            Type::Bool => match self.head(path)? {
                Head::Bool(value) => Ok(M::scalar(Value::Bool(value))),
                other => Err(self.mismatch(path, ty, other)),
            },
            Type::S8 => self.integer(ty, path, Value::S8),
            Type::U8 => self.integer(ty, path, Value::U8),
            Type::S16 => self.integer(ty, path, Value::S16),
            Type::U16 => self.integer(ty, path, Value::U16),
            Type::S32 => self.integer(ty, path, Value::S32),
            Type::U32 => self.integer(ty, path, Value::U32),
            Type::S64 => self.integer(ty, path, Value::S64),
            Type::U64 => self.integer(ty, path, Value::U64),
            Type::F32 => self.float(ty, path).and_then(|number| {
                narrow(number)
                    .map(|number| M::scalar(Value::F32(number)))
                    .ok_or_else(|| ValueError::at(path, format!("{number} is out of range of f32")))
            }),
            Type::F64 => self
                .float(ty, path)
                .map(|number| M::scalar(Value::F64(number))),
            Type::Char => match self.head(path)? {
                Head::Text(text) => {
                    let mut characters = text.chars();
                    match (characters.next(), characters.next()) {
                        (Some(character), None) => Ok(M::scalar(Value::Char(character))),
                        _ => Err(ValueError::at(
                            path,
                            "expected char, got text that is not one character",
                        )),
                    }
                }
                other => Err(self.mismatch(path, ty, other)),
            },
            Type::String => match self.head(path)? {
                Head::Text(text) => Ok(M::text(text)),
                other => Err(self.mismatch(path, ty, other)),
            },
            Type::List(inner) => self.list(ty, inner, None, path, depth),
            Type::FixedList(inner, length) => self.list(ty, inner, Some(*length), path, depth),
            Type::Map(key, value) => self.map(ty, key, value, path, depth),
            Type::Record(fields) => self.record(ty, fields, path, depth),
            Type::Tuple(types) => {
                let length = self.array(ty, path)?;
                if length != types.len() {
                    let problem = format!("expected {ty}, got an array of {length}");
                    return Err(ValueError::at(path, problem));
                }
                let items = types.iter().enumerate();
                let items =
                    items.map(|(index, ty)| self.value(ty, Path::Index(&path, index), depth + 1));
                Ok(M::tuple(items.collect::<Result<_, _>>()?))
            }
            Type::Variant(cases) => self.variant(ty, cases, path, depth),
            Type::Enum(names) => match self.head(path)? {
                Head::Text(text) => Ok(M::enumerated(self.case(ty, names, text, path)?)),
                other => Err(self.mismatch(path, ty, other)),
            },
            Type::Option(inner) => self.option(ty, inner, path, depth),
            Type::Result(result) => self.result(ty, result, path, depth),
            Type::Flags(names) => self.flags(ty, names, path),
            Type::Own(_) | Type::Borrow(_) => match self.head(path)? {
                Head::Handle(handle) => Ok(M::scalar(Value::Handle(handle))),
                other => Err(self.mismatch(path, format!("a handle of {ty}"), other)),
            },
        }
    }

    fn integer<M: Made, T: TryFrom<i128>>(
        &mut self,
        ty: &Type,
        path: Path<'_>,
        make: impl Fn(T) -> Value,
    ) -> Result<M, ValueError> {
        let number = match self.reader.integer() {
            Some((number, false)) => i128::from(number),
            Some((number, true)) => -1 - i128::from(number),
            None => match self.head(path)? {
                Head::Unsigned(number) => i128::from(number),
                Head::Negative(number) => -1 - i128::from(number),
                other => return Err(self.mismatch(path, ty, other)),
            },
        };
        T::try_from(number)
            .map(|number| M::scalar(make(number)))
            .map_err(|_| ValueError::at(path, format!("{number} is out of range of {ty}")))
    }

    /// A float, or an integer that a float holds exactly: languages with one number type send those.
    fn float(&mut self, ty: &Type, path: Path<'_>) -> Result<f64, ValueError> {
        const EXACT: u64 = 1 << 53;
        #[allow(
            clippy::cast_precision_loss,
            reason = "exact up to 2^53, which is checked"
        )]
        match self.head(path)? {
            Head::Float(number) => Ok(number),
            Head::Unsigned(number) if number <= EXACT => Ok(number as f64),
            Head::Negative(number) if number < EXACT => Ok(-1.0 - number as f64),
            other => Err(self.mismatch(path, ty, other)),
        }
    }

    fn array(&mut self, ty: &Type, path: Path<'_>) -> Result<usize, ValueError> {
        match self.head(path)? {
            Head::Array(length) => Ok(length),
            other => Err(self.mismatch(path, ty, other)),
        }
    }

    fn list<M: Made>(
        &mut self,
        ty: &'t Type,
        inner: &'t Type,
        fixed: Option<u32>,
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        let is_bytes = *inner == Type::U8;
        let (length, bytes) = match self.head(path)? {
            Head::Bytes(bytes) if is_bytes => (bytes.len(), Some(bytes)),
            Head::Array(length) => (length, None),
            other => return Err(self.mismatch(path, ty, other)),
        };
        if fixed.is_some_and(|fixed| fixed as usize != length) {
            let problem = format!("expected {ty}, got {length} elements");
            return Err(ValueError::at(path, problem));
        }
        if let Some(bytes) = bytes {
            return Ok(M::bytes(bytes));
        }
        if is_bytes {
            let bytes = (0..length).map(|index| {
                match self.value(inner, Path::Index(&path, index), depth + 1)? {
                    Value::U8(byte) => Ok(byte),
                    _ => Err(ValueError::at(path, "expected u8")),
                }
            });
            let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
            return Ok(M::bytes(&bytes));
        }
        let items =
            (0..length).map(|index| self.value(inner, Path::Index(&path, index), depth + 1));
        Ok(M::list(items.collect::<Result<_, _>>()?))
    }

    fn map<M: Made>(
        &mut self,
        ty: &'t Type,
        key: &'t Type,
        value: &'t Type,
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        let length = match self.head(path)? {
            Head::Map(length) => length,
            other => return Err(self.mismatch(path, ty, other)),
        };
        let mut seen = std::collections::HashSet::new();
        let mut entries = Vec::with_capacity(length);
        for index in 0..length {
            let path = Path::Index(&path, index);
            let before = self.reader.rest();
            let key: M = self.value(key, path, depth + 1)?;
            let key_bytes = before.len() - self.reader.rest().len();
            if !seen.insert(before.get(..key_bytes)) {
                return Err(ValueError::at(path, "the same key twice"));
            }
            entries.push((key, self.value(value, path, depth + 1)?));
        }
        Ok(M::map(entries))
    }

    fn record<M: Made>(
        &mut self,
        ty: &'t Type,
        fields: &'t [Field],
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        let length = match self.head(path)? {
            Head::Map(length) => length,
            other => return Err(self.mismatch(path, ty, other)),
        };
        let mut values = M::slots(fields.len());
        for position in 0..length {
            // Senders mostly keep the order of the type, so look there first.
            let in_order = fields.get(position);
            let (key, index) = match in_order.filter(|field| self.reader.text_is(&field.name)) {
                Some(field) => (&*field.name, Some(position)),
                None => {
                    let key = self.key(path)?;
                    (key, self.places.of(fields, key))
                }
            };
            let here = Path::Field(&path, key);
            match index.and_then(|index| Some((index, fields.get(index)?))) {
                None => return Err(ValueError::at(here, format!("no such field in {ty}"))),
                Some((index, _)) if M::is_filled(&values, index) => {
                    return Err(ValueError::at(here, "given twice"));
                }
                Some((index, field)) => {
                    let value: M = self.value(&field.ty, here, depth + 1)?;
                    value.fill(&mut values, index);
                }
            }
        }
        // What is missing takes as much room as what is there.
        let missing = fields.len().saturating_sub(length);
        self.reader
            .spend(missing)
            .map_err(|error| syntax(path, &error))?;
        let values = M::all(values, fields.len(), |index| match fields.get(index) {
            Some(field) if !matches!(field.ty, Type::Option(_)) => {
                let here = Path::Field(&path, &field.name);
                let problem = format!("missing: expected {}", field.ty);
                Err(ValueError::at(here, problem))
            }
            _ => Ok(M::option(None)),
        })?;
        Ok(M::record(fields, values))
    }

    fn case(
        &mut self,
        ty: &Type,
        names: &'t [Name],
        text: &str,
        path: Path<'_>,
    ) -> Result<&'t Name, ValueError> {
        let place = self.places.of(names, text);
        place
            .and_then(|place| names.get(place))
            .ok_or_else(|| ValueError::at(path, format!("expected {ty}, got {text:?}")))
    }

    fn variant<M: Made>(
        &mut self,
        ty: &'t Type,
        cases: &'t [Case],
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        let (name, has_payload) = match self.head(path)? {
            Head::Text(text) => (text, false),
            Head::Map(1) => (self.key(path)?, true),
            other => return Err(self.mismatch(path, ty, other)),
        };
        let place = self.places.of(cases, name);
        let Some(case) = place.and_then(|place| cases.get(place)) else {
            return Err(ValueError::at(path, format!("expected {ty}, got {name:?}")));
        };
        let here = Path::Field(&path, name);
        let payload = match (&case.ty, has_payload) {
            (None, false) => None,
            (Some(ty), true) => Some(Box::new(self.value(ty, here, depth + 1)?)),
            (None, true) => return Err(ValueError::at(here, "this case has no payload")),
            (Some(ty), false) => {
                return Err(ValueError::at(
                    here,
                    format!("missing payload: expected {ty}"),
                ));
            }
        };
        Ok(M::variant(&case.name, payload))
    }

    fn option<M: Made>(
        &mut self,
        ty: &'t Type,
        inner: &'t Type,
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        if self.peek(path)? == Head::Null {
            self.head(path)?;
            return Ok(M::option(None));
        }
        if matches!(inner, Type::Option(_)) {
            match self.head(path)? {
                Head::Map(1) => {}
                other => {
                    return Err(self.mismatch(path, format!("{ty} as null or {{some: …}}"), other));
                }
            }
            let key = self.key(path)?;
            if key != "some" {
                return Err(ValueError::at(
                    path,
                    format!("expected {{some: …}}, got {key:?}"),
                ));
            }
        }
        let value = self.value(inner, path, depth + 1)?;
        Ok(M::option(Some(Box::new(value))))
    }

    fn result<M: Made>(
        &mut self,
        ty: &'t Type,
        result: &'t ResultType,
        path: Path<'_>,
        depth: u32,
    ) -> Result<M, ValueError> {
        match self.head(path)? {
            Head::Map(1) => {}
            other => {
                return Err(self.mismatch(path, format!("{ty} as {{ok: …}} or {{err: …}}"), other));
            }
        }
        let key = self.key(path)?;
        let here = Path::Field(&path, key);
        let payload = match key {
            "ok" => &result.ok,
            "err" => &result.err,
            _ => return Err(ValueError::at(here, format!("expected ok or err of {ty}"))),
        };
        let payload = match payload {
            Some(ty) => Some(Box::new(self.value(ty, here, depth + 1)?)),
            None => match self.head(here)? {
                Head::Null => None,
                other => return Err(self.mismatch(here, "null", other)),
            },
        };
        Ok(M::result(if key == "ok" {
            Ok(payload)
        } else {
            Err(payload)
        }))
    }

    fn flags<M: Made>(
        &mut self,
        ty: &Type,
        names: &'t [Name],
        path: Path<'_>,
    ) -> Result<M, ValueError> {
        let length = self.array(ty, path)?;
        let mut set = Seen::none(names.len());
        for index in 0..length {
            let path = Path::Index(&path, index);
            let text = self.key(path)?;
            match self.places.of(names, text) {
                None => return Err(ValueError::at(path, format!("expected {ty}, got {text:?}"))),
                Some(place) if set.has(place) => {
                    return Err(ValueError::at(path, format!("{text:?} twice")));
                }
                Some(place) => set.insert(place),
            }
        }
        Ok(M::flags(names, &set))
    }
}

/// An f64 as f32: rounded, but a finite number stays finite.
fn narrow(number: f64) -> Option<f32> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "rounding is meant; overflow is checked next"
    )]
    let narrowed = number as f32;
    (narrowed.is_finite() || !number.is_finite()).then_some(narrowed)
}

fn syntax(path: Path<'_>, error: &SyntaxError) -> ValueError {
    ValueError::at(path, error.to_string())
}
