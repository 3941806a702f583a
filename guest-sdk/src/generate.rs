//! `generate!`, for modules that are described in WIT.

/// Generate bindings from WIT of one's own.
///
/// This is [`wit_bindgen::generate!`](https://docs.rs/wit-bindgen) with the same options, told
/// where to find its runtime, so that a module depends on this crate alone. Use it where
/// [`module`](macro@crate::module) does not reach: flags, imports, an interface with a version,
/// or one that was agreed with others beforehand.
///
/// ```
/// rpc_guest::generate!({
///     world: "adder",
///     inline: r#"
///         package demo:adder@1.0.0;
///
///         interface sums {
///             add: func(a: s64, b: s64) -> s64;
///         }
///
///         world adder {
///             export sums;
///         }
///     "#,
/// });
///
/// struct Adder;
///
/// impl exports::demo::adder::sums::Guest for Adder {
///     fn add(a: i64, b: i64) -> i64 {
///         a + b
///     }
/// }
///
/// export!(Adder);
/// # fn main() {}
/// ```
///
/// Without `inline`, the WIT is read from the folder `wit` beside `Cargo.toml`.
#[macro_export]
macro_rules! generate {
    () => {
        $crate::__generate! {}
    };
    ($world:literal) => {
        $crate::__generate! { world: $world }
    };
    ($world:literal in $path:literal) => {
        $crate::__generate! { path: $path, world: $world }
    };
    ({ $($options:tt)* }) => {
        $crate::__generate! { $($options)* }
    };
}

/// `wit_bindgen::generate!` with the path to its runtime.
///
/// That the call stands in this crate also makes the compiler treat what it generates as foreign,
/// so that a module may forbid unsafe code.
#[doc(hidden)]
#[macro_export]
macro_rules! __generate {
    ($($options:tt)*) => {
        $crate::__private::wit_bindgen::generate!({
            runtime_path: "::rpc_guest::__private::wit_bindgen::rt",
            $($options)*
        });
        $crate::__private::docs_section! { $($options)* }
    };
}

/// What the WIT says about its exports, as a section of the component: `rpc-host describe` shows it.
#[doc(hidden)]
#[macro_export]
macro_rules! __docs_section {
    ($docs:literal) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "rpc-host:docs")]
            static DOCS: [u8; $docs.len()] = *$docs;
        };
    };
}
