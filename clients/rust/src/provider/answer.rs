//! What a program answers to a call.

use std::any::Any;
use std::fmt;

use rpc_host_protocol::serde::to_cbor;
use rpc_host_protocol::{ErrorCode, Failure, Fault};
use serde::Serialize;

use crate::connection::Passed;
use crate::object::scope::{Written, writing};

/// The result of a call, encoded.
#[derive(Clone)]
pub struct Answer {
    value: Vec<u8>,
    passed: Passed,
}

impl Answer {
    /// A value, by the table of [`rpc_host_protocol::serde`]: `()` for a function that returns nothing,
    /// a `Result` for one that returns a WIT `result`.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, ProviderError> {
        let mut written = Written::default();
        let value = writing(&mut written, || to_cbor(value, "result")).map_err(|error| {
            ProviderError::new(format!("the answer has no form in WIT: {error}"))
        })?;
        let passed = written.passed;
        Ok(Answer { value, passed })
    }

    /// One CBOR item, of the strict subset and the form that the function's WIT type asks for. The host
    /// checks it.
    pub fn raw(value: Vec<u8>) -> Self {
        let passed = Passed::default();
        Answer { value, passed }
    }

    pub(crate) fn into_parts(self) -> (Vec<u8>, Passed) {
        (self.value, self.passed)
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Answer {}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// That a program could not answer a call. The caller is told the code and the text.
///
/// This is not the `err` of a function that returns a WIT `result`: that is a value, and an answer.
///
/// Any error can be turned into one with `?`; therefore it is none itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    code: ErrorCode,
    message: String,
}

impl ProviderError {
    /// With the code `unknown`.
    pub fn new(message: impl Into<String>) -> Self {
        ProviderError {
            code: ErrorCode::Unknown,
            message: message.into(),
        }
    }

    /// The same with another code.
    pub fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = code;
        self
    }

    /// What the caller is told, for programs.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What a panic of the program left.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        ProviderError::new(format!("the program panicked: {}", text.unwrap_or("…")))
    }

    pub(crate) fn into_failure(self) -> Failure {
        Failure::new(self.code, Fault::Application, self.message)
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: std::error::Error> From<E> for ProviderError {
    fn from(error: E) -> Self {
        ProviderError::new(error.to_string())
    }
}

/// What can be given as the answer to a call: anything serializable, an [`Answer`], or either of them
/// in a `Result<_, ProviderError>`.
///
/// `M` only tells these apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer",
    note = "an answer is anything serializable, or a `Result<_, ProviderError>` of that"
)]
pub trait IntoAnswer<M> {
    /// The answer that it is.
    fn into_answer(self) -> Result<Answer, ProviderError>;
}

/// See [`IntoAnswer`].
#[derive(Debug)]
pub enum AsValue {}

impl<T: Serialize> IntoAnswer<AsValue> for T {
    fn into_answer(self) -> Result<Answer, ProviderError> {
        Answer::of(&self)
    }
}

/// See [`IntoAnswer`].
#[derive(Debug)]
pub enum AsItIs {}

impl IntoAnswer<AsItIs> for Answer {
    fn into_answer(self) -> Result<Answer, ProviderError> {
        Ok(self)
    }
}

/// See [`IntoAnswer`].
#[derive(Debug)]
pub struct OrError<M>(std::marker::PhantomData<fn(M)>);

impl<T: IntoAnswer<M>, M> IntoAnswer<OrError<M>> for Result<T, ProviderError> {
    fn into_answer(self) -> Result<Answer, ProviderError> {
        self?.into_answer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<M>(answer: impl IntoAnswer<M>) -> Result<Vec<u8>, ProviderError> {
        answer.into_answer().map(|answer| answer.into_parts().0)
    }

    #[test]
    fn values_results_and_errors_are_told_apart() {
        assert_eq!(answer(5).unwrap(), [5]);
        assert_eq!(answer(()).unwrap(), [0xf6]);
        assert_eq!(answer(Answer::raw(vec![7])).unwrap(), [7]);
        let err: Result<(), String> = Err("no".to_owned());
        let err_value = b"\xa1\x63err\x62no".to_vec();
        assert_eq!(answer(err.clone()).unwrap(), err_value);
        assert_eq!(answer(Ok::<_, ProviderError>(err)).unwrap(), err_value);
        let raw = Ok::<_, ProviderError>(Answer::raw(vec![7]));
        assert_eq!(answer(raw).unwrap(), [7]);
        let error = ProviderError::new("gone").with_code(ErrorCode::Unavailable);
        assert_eq!(answer(Err::<(), _>(error.clone())), Err(error));
        let error = answer(i128::MAX).unwrap_err();
        assert!(
            error.to_string().contains("the answer has no form in WIT"),
            "{error}"
        );
    }

    #[test]
    fn any_error_becomes_one_and_a_panic_too() {
        fn fails() -> Result<u8, ProviderError> {
            Ok("x".parse()?)
        }
        assert_eq!(
            fails().unwrap_err().into_failure(),
            Failure::new(
                ErrorCode::Unknown,
                Fault::Application,
                "invalid digit found in string"
            )
        );
        let panic = std::panic::catch_unwind(|| panic!("at {}", 1)).unwrap_err();
        assert_eq!(
            ProviderError::of_panic(&*panic).to_string(),
            "unknown: the program panicked: at 1"
        );
    }
}
