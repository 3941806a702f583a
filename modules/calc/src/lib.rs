//! Sums, quotients and a little geometry: the smallest useful module.

#![forbid(unsafe_code)]

/// Arithmetic on whole numbers, and distances.
#[rpc_guest::module]
mod calc {
    /// A place on a grid.
    pub struct Point {
        /// Steps to the right.
        pub x: i32,
        /// Steps up.
        pub y: i32,
    }

    /// `a` plus `b`; past the ends of the range it goes round.
    pub fn add(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    /// `a` minus `b`; past the ends of the range it goes round.
    pub fn sub(a: i64, b: i64) -> i64 {
        a.wrapping_sub(b)
    }

    /// `a` divided by `b`, without the remainder.
    pub fn div(a: i64, b: i64) -> Result<i64, String> {
        if b == 0 {
            return Err(format!("cannot divide {a} by zero"));
        }
        a.checked_div(b)
            .ok_or_else(|| format!("{a} divided by {b} is out of range"))
    }

    /// The length of the straight line between two points.
    pub fn distance(from: Point, to: Point) -> f64 {
        let x = f64::from(from.x) - f64::from(to.x);
        let y = f64::from(from.y) - f64::from(to.y);
        x.hypot(y)
    }
}

#[cfg(test)]
mod tests {
    use super::calc::*;

    #[test]
    fn sums_go_round() {
        assert_eq!(add(2, 3), 5);
        assert_eq!(sub(2, 3), -1);
        assert_eq!(add(i64::MAX, 1), i64::MIN);
    }

    #[test]
    fn division_fails_with_a_reason() {
        assert_eq!(div(7, 2), Ok(3));
        assert_eq!(div(7, 0), Err("cannot divide 7 by zero".into()));
        assert!(div(i64::MIN, -1).is_err());
    }

    #[test]
    fn distance_is_euclidean() {
        let origin = Point { x: 0, y: 0 };
        assert_eq!(distance(origin, Point { x: 3, y: -4 }), 5.0);
    }
}
