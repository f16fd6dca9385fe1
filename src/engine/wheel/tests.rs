use std::time::Duration;

use super::*;
use crate::types::Entropy;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn gives_back_what_is_due_and_nothing_else() {
    let start = crate::net::clock::now();
    let mut wheel = Wheel::new(start);
    assert_eq!(wheel.next_deadline(), None);
    wheel.schedule(0, start + ms(20));
    wheel.schedule(1, start + ms(3));
    wheel.schedule(2, start + ms(3) + Duration::from_micros(400));
    assert_eq!(wheel.next_deadline(), Some(start + ms(3)));
    assert_eq!(wheel.pop_due(start + ms(2)), None);
    assert_eq!(wheel.pop_due(start + ms(3)), Some((1, start + ms(3))));
    assert_eq!(wheel.pop_due(start + ms(3)), None);
    assert_eq!(wheel.next_deadline(), Some(start + ms(3) + Duration::from_micros(400)));
    wheel.schedule(2, start + ms(5));
    assert_eq!(wheel.pop_due(start + ms(4)), None);
    wheel.cancel(2);
    assert_eq!(wheel.pop_due(start + ms(19)), None);
    assert_eq!(wheel.pop_due(start + ms(500)), Some((0, start + ms(20))));
    assert_eq!(wheel.next_deadline(), None);
}

/// Random operations agree with a plain list.
#[test]
fn agrees_with_a_list() {
    let start = crate::net::clock::now();
    let mut entropy = Entropy::seeded(5);
    let mut wheel = Wheel::new(start);
    let mut list: Vec<Option<Instant>> = vec![None; 40];
    let mut now = start;
    for _ in 0..20_000 {
        let index = entropy.u32() % 40;
        match entropy.u32() % 8 {
            0..4 => {
                let at = now + Duration::from_micros(u64::from(entropy.u32() % 60_000));
                wheel.schedule(index, at);
                list[index as usize] = Some(at);
            }
            4 => {
                wheel.cancel(index);
                list[index as usize] = None;
            }
            _ => {
                let step = if entropy.u32().is_multiple_of(50) { 300_000 } else { 2_500 };
                now += Duration::from_micros(u64::from(entropy.u32() % step));
                let mut due = Vec::new();
                while let Some((index, at)) = wheel.pop_due(now) {
                    assert_eq!(list[index as usize].take(), Some(at));
                    due.push(index);
                }
                assert!(list.iter().flatten().all(|at| *at > now), "something due was left");
                assert_eq!(wheel.next_deadline(), list.iter().flatten().min().copied());
            }
        }
    }
}
