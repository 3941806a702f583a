//! Many times of the same thing.

use std::time::Duration;

/// What is told of them. A round is what was measured in one go; rounds are spread over the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    /// How far apart the rounds are: between the quartiles of their medians, as a part of the median of them.
    pub(crate) between_rounds: f64,
}

impl Spread {
    pub(crate) fn of(rounds: &[Vec<f64>]) -> Spread {
        let all = sorted(rounds.concat());
        let medians = rounds.iter().filter(|round| !round.is_empty());
        let medians = sorted(
            medians
                .map(|round| at(&sorted(round.clone()), 50))
                .collect(),
        );
        let middle = at(&medians, 50);
        let between_rounds = if middle > 0.0 {
            (at(&medians, 75) - at(&medians, 25)) / middle
        } else {
            0.0
        };
        Spread {
            p50: at(&all, 50),
            p90: at(&all, 90),
            p99: at(&all, 99),
            between_rounds,
        }
    }
}

/// As what is measured is kept.
pub(crate) fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The smallest value that at least so many of a hundred do not exceed.
fn at(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100_u8).rev().map(f64::from).collect();
        let spread = Spread::of(&[hundred]);
        assert_eq!((spread.p50, spread.p90, spread.p99), (50.0, 90.0, 99.0));
        let one = Spread::of(&[vec![7.0]]);
        assert_eq!((one.p50, one.p99, one.between_rounds), (7.0, 7.0, 0.0));
        assert_eq!(Spread::of(&[]).p50, 0.0);
    }

    #[test]
    fn rounds_that_differ_are_seen() {
        let alike = Spread::of(&[vec![1.0, 9.0, 1.0], vec![1.0, 1.0, 30.0]]);
        assert_eq!(alike.between_rounds, 0.0);
        let apart = Spread::of(&[vec![1.0], vec![2.0], vec![2.0], vec![4.0]]);
        assert_eq!(apart.between_rounds, 0.5);
    }
}
