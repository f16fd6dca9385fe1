//! Whether a peer is there, by its answers to OPTIONS. Pure.

/// Failures in a row that make a peer count as down: one lost exchange does not.
const DOWN_AFTER: u8 = 2;

/// How a peer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nobody asked yet.
    #[default]
    Unknown,
    /// It answered last, or not failed twice since.
    Up,
    /// It failed twice in a row.
    Down,
}

impl Health {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Health, and what leads to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    health: Health,
    failures: u8,
}

impl Pulse {
    /// How it stands.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes the outcome of one OPTIONS: its final status, or `None`. The new health, if it changed.
    pub fn heard(&mut self, status: Option<u16>) -> Option<Health> {
        let before = self.health;
        if is_alive(status) {
            (self.health, self.failures) = (Health::Up, 0);
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= DOWN_AFTER {
                self.health = Health::Down;
            }
        }
        (self.health != before).then_some(self.health)
    }
}

/// Whoever answers at all is there, but for those who say that they are not.
pub fn is_alive(status: Option<u16>) -> bool {
    status.is_some_and(|status| status != 408 && status != 503)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_are_down_and_one_success_is_up() {
        let mut pulse = Pulse::default();
        for (status, changed, health) in [
            (None, None, Health::Unknown),
            (Some(200), Some(Health::Up), Health::Up),
            (None, None, Health::Up),
            (Some(404), None, Health::Up),
            (Some(503), None, Health::Up),
            (Some(408), Some(Health::Down), Health::Down),
            (None, None, Health::Down),
            (Some(486), Some(Health::Up), Health::Up),
        ] {
            assert_eq!((pulse.heard(status), pulse.health()), (changed, health), "{status:?}");
        }
    }

    #[test]
    fn every_final_answer_but_two_shows_life() {
        for (status, alive) in [
            (Some(200), true),
            (Some(401), true),
            (Some(405), true),
            (Some(483), true),
            (Some(603), true),
            (Some(408), false),
            (Some(503), false),
            (None, false),
        ] {
            assert_eq!(is_alive(status), alive, "{status:?}");
        }
    }
}
