//! One set of cases for every recogniser, run against servers that speak its documented wire format.

mod tests;
