//! From the name of an import to the names of registrations that may answer it.

use crate::registry::Bindings;

/// Under which names an import is looked for, in this order: the one that is bound to it alone, or else
/// its own, with its version and without.
pub(super) fn candidates<'a>(
    bindings: &'a Bindings,
    import: &'a str,
) -> impl Iterator<Item = &'a str> {
    let bound = bindings.get(import).map(|name| name.as_str());
    let without_version = import.split_once('@').map(|(name, _)| name);
    let own = [Some(import), without_version];
    let own = own.into_iter().flatten().filter(move |_| bound.is_none());
    bound.into_iter().chain(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_the_only_answer_and_else_the_version_comes_first() {
        let bound = [("a:b/log@1.0.0".parse().unwrap(), "mine".parse().unwrap())];
        let bindings = Bindings::collect(bound).unwrap();
        let names = |import| candidates(&bindings, import).collect::<Vec<_>>().join(" ");
        assert_eq!(names("a:b/log@1.0.0"), "mine");
        assert_eq!(names("a:b/log@1.0.1"), "a:b/log@1.0.1 a:b/log");
        assert_eq!(names("hello"), "hello");
    }
}
