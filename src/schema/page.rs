//! A page of a list.

use serde::Serialize;
use utoipa::ToSchema;

/// One page.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Rows of all pages.
    pub total: u64,
    /// From 1; with a cursor, 1.
    pub page: u32,
    /// Most rows of a page.
    pub page_size: u32,
    /// What to give as `cursor` for the rows that follow; null if there are none.
    pub next_cursor: Option<String>,
}

/// One page of calls.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallList {
    /// The rows.
    pub items: Vec<super::CallSummary>,
    /// Rows of all pages.
    pub total: u64,
    /// Whether `total` is all there are. Totals by direction, status, outcome, end reason, `answered_by`, agent,
    /// trunk, `call_type` and `is_test` always are; with other filters, counting stops at 10,000.
    pub total_exact: bool,
    /// From 1; with a cursor, 1.
    pub page: u32,
    /// Most rows of a page.
    pub page_size: u32,
    /// What to give as `cursor` for the rows that follow; null if there are none.
    pub next_cursor: Option<String>,
}
