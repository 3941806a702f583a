//! Uses things that other modules made, and says what became of them.

#![forbid(unsafe_code)]

use test::things::broker;
use test::things::maker::{self, Thing};

rpc_guest::generate!({ world: "using", path: "../maker/wit" });

struct User;

impl Guest for User {
    fn lifetimes() -> Vec<u32> {
        let mut live = vec![maker::live()];
        let first = Thing::new(1);
        let mut others = maker::make(&[2, 3]);
        live.push(maker::live());
        drop(first);
        live.push(maker::live());
        others.pop().map(maker::consume);
        live.push(maker::live());
        drop(others);
        live.push(maker::live());
        live
    }

    fn lending() -> Vec<i64> {
        let (seven, nine) = (Thing::new(7), Thing::new(9));
        let four = seven.add(-3);
        vec![
            seven.value(),
            four,
            Thing::larger(&seven, &nine),
            maker::sum(&[&seven, &nine, &seven]),
            maker::sum(&[]),
        ]
    }

    fn giving() -> (i64, u32, u32) {
        let merged = Thing::merge(Thing::new(20), Thing::new(3));
        let before = maker::live();
        let value = maker::consume(merged);
        (value, before, maker::live())
    }

    fn wrapped() -> Vec<String> {
        let value = |thing: Option<Thing>| thing.map(|thing| thing.value());
        let pair = maker::couple(1, Some(2));
        vec![
            format!("{:?}", value(maker::maybe(Some(5)))),
            format!("{:?}", value(maker::maybe(None))),
            format!("{:?}", Thing::checked(6).map(|thing| thing.value())),
            format!("{:?}", Thing::checked(-6).map(|thing| thing.value())),
            maker::sum_pair(pair).to_string(),
            maker::sum_pair(maker::couple(3, None)).to_string(),
            format!("{} left of {}", maker::live(), maker::made()),
        ]
    }

    fn brokered() -> Vec<i64> {
        let ours = Thing::new(10);
        let seen = broker::look(&ours);
        let returned = broker::pass(ours, 5);
        let after = returned.add(1);
        let ordered = broker::order(40);
        let sum = maker::sum(&[&returned, &ordered]);
        broker::keep(returned);
        broker::keep(ordered);
        let kept = i64::from(maker::live());
        let given: Vec<Thing> = std::iter::from_fn(broker::give_back).collect();
        let mut story = vec![seen, after, sum, kept];
        story.extend(given.iter().map(Thing::value));
        drop(given);
        story.push(i64::from(maker::live()));
        story
    }

    fn leave_behind(count: u32) -> (u32, u32) {
        let found = (maker::live(), maker::made());
        (0..count).for_each(|value| std::mem::forget(Thing::new(value.into())));
        found
    }

    fn churn(rounds: u32) -> u32 {
        (0..rounds).for_each(|value| drop(Thing::new(value.into())));
        maker::live()
    }

    fn hoard(count: u32) -> u32 {
        let held: Vec<Thing> = (0..count).map(|value| Thing::new(value.into())).collect();
        let live = maker::live();
        drop(held);
        live
    }

    fn misplace() -> i64 {
        broker::pass(Thing::new(1), 1).value()
    }

    fn mislend() -> i64 {
        broker::look(&Thing::new(1))
    }

    fn stock(count: u32) -> u32 {
        let held: Vec<Thing> = (0..count).map(|value| Thing::new(value.into())).collect();
        (0..count).for_each(|value| broker::keep(broker::order(value.into())));
        let live = maker::live();
        drop(held);
        live
    }

    fn outlive() -> (i64, i64, u32) {
        let thing = Thing::new(0);
        let mut count = 0;
        while maker::made() == 1 {
            count += 1;
            thing.add(1);
        }
        count += 1;
        (count, thing.add(1), maker::live())
    }
}

export!(User);
