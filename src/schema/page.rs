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
    /// From 1.
    pub page: u32,
    /// Most rows of a page.
    pub page_size: u32,
}
