//! What the compiler says to an author, word for word.
//!
//! After a deliberate change: `TRYBUILD=overwrite cargo test -p rpc-guest --test ui`, and read the
//! difference.

#[test]
fn refusals_point_at_the_authors_code() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/accepted/*.rs");
}
