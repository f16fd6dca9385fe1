//! Pages of lists: by number, or by a cursor, which goes on where a page ended whatever came or went meanwhile.
//!
//! A cursor holds the place of a page's last row. It is signed for its list, its organization and the filters of the
//! request, so that it leads nowhere else.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use utoipa::IntoParams;

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Params, bad_param};
use crate::schema::Page;
use crate::store::query::OFFSET_MAX;
use crate::store::sign::Signer;
use crate::store::{PageRequest, Part, Place, QueryError, Start};

/// Names of [`PageParams`].
pub(super) const NAMES: [&str; 3] = ["page", "page_size", "cursor"];
/// Longest cursor that is looked at.
const CURSOR_CHARS_MAX: usize = 400;

/// Where a list begins, and how much of it is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
pub(super) struct PageParams {
    /// Which page, from 1. Pages end 100,000 rows from the first; a cursor goes on.
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    /// Rows of a page. More than 100 is an error, not cut down.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
    /// `next_cursor` of the page before, with the same filters and the same order. Rows that come meanwhile shift
    /// nothing.
    cursor: Option<String>,
}

/// `page` and `page_size`.
pub(super) fn page(params: &Params) -> Result<PageRequest, ApiError> {
    PageRequest::new(params.number("page")?, params.number("page_size")?)
        .map_err(|error| query_error(&error))
}

/// The refusal of a filter.
pub(super) fn query_error(error: &QueryError) -> ApiError {
    let param = match error {
        QueryError::Page | QueryError::Depth => "page",
        QueryError::PageSize => "page_size",
        QueryError::Status => "status",
        QueryError::Direction => "direction",
        QueryError::Search => "search",
    };
    bad_param(param, error.to_string())
}

/// Which page a request wants, and what the next one is found by.
pub(super) struct Paging<I = String> {
    /// Where it begins.
    pub start: Start<I>,
    page: PageRequest,
    signer: Arc<Signer>,
    /// What cursors of this list are good for.
    scope: String,
}

impl<I: FromStr + Display> Paging<I> {
    /// Reads `page`, `page_size` and `cursor`. `list` tells one list from every other of the organization; all further
    /// parameters count as its filters.
    pub(super) async fn read(
        api: &Api,
        principal: &Principal,
        params: &Params,
        list: &str,
    ) -> Result<Self, ApiError> {
        let page = page(params)?;
        let signer = api.signer().await?;
        let filters = params.without(&NAMES);
        let scope = format!("{list}\n{}\n{filters:?}", principal.organization);
        let start = match params.one("cursor")? {
            Some(_) if params.one("page")?.is_some() => {
                return Err(bad_param("cursor", "a list has either `page` or `cursor`"));
            }
            Some(cursor) => Start::After(open(&signer, &scope, cursor)?),
            None if page.offset() > OFFSET_MAX => return Err(query_error(&QueryError::Depth)),
            None => Start::Offset(page.offset()),
        };
        Ok(Self { start, page, signer, scope })
    }

    /// Number of the page; 1 with a cursor.
    pub(super) fn number(&self) -> u32 {
        self.page.page()
    }

    /// Most rows.
    pub(super) fn size(&self) -> u32 {
        self.page.page_size()
    }

    /// The cursor that goes on after a row.
    pub(super) fn cursor(&self, place: Option<Place<I>>) -> Option<String> {
        place.map(|place| {
            let open = format!("{}.{}", place.sort_us, place.id);
            let signature = self.signer.sign("cursor", &format!("{open}\n{}", self.scope));
            URL_SAFE_NO_PAD.encode(format!("{open}.{signature}"))
        })
    }
}

impl Paging {
    /// What the store is asked for.
    pub(super) fn part(&self) -> Part {
        Part { start: self.start.clone(), size: self.size() }
    }

    /// One page.
    pub(super) fn answer<T>(
        &self,
        items: Vec<T>,
        total: u64,
        next: Option<Place<String>>,
    ) -> axum::Json<Page<T>> {
        let next_cursor = self.cursor(next);
        axum::Json(Page { items, total, page: self.number(), page_size: self.size(), next_cursor })
    }

    /// One page of rows that are all in memory. `place` is what a cursor keeps of a row, `is_after` whether a row
    /// comes after such a place.
    pub(super) fn cut<R, T>(
        &self,
        rows: &[R],
        place: impl Fn(usize, &R) -> Place<String>,
        is_after: impl Fn(usize, &R, &Place<String>) -> bool,
        show: impl Fn(&R) -> T,
    ) -> axum::Json<Page<T>> {
        let first = match &self.start {
            Start::Offset(offset) => usize::try_from(*offset).unwrap_or(usize::MAX),
            Start::After(place) => {
                let mut places = rows.iter().enumerate();
                places.position(|(at, row)| is_after(at, row, place)).unwrap_or(rows.len())
            }
        };
        let rest = rows.get(first..).unwrap_or_default();
        let shown = rest.get(..self.size() as usize).unwrap_or(rest);
        let last = shown.last().filter(|_| shown.len() < rest.len());
        let next = last.map(|row| place(first + shown.len() - 1, row));
        self.answer(shown.iter().map(show).collect(), rows.len() as u64, next)
    }

    /// One page of rows that are all in memory and always the same.
    pub(super) fn cut_fixed<T: Clone>(&self, rows: &[T]) -> axum::Json<Page<T>> {
        let number = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        self.cut(
            rows,
            |at, _| Place { sort_us: number(at), id: String::new() },
            |at, _, place| number(at) > place.sort_us,
            Clone::clone,
        )
    }
}

fn open<I: FromStr>(signer: &Signer, scope: &str, cursor: &str) -> Result<Place<I>, ApiError> {
    let read = || {
        let octets = URL_SAFE_NO_PAD.decode(Some(cursor).filter(|c| c.len() <= CURSOR_CHARS_MAX)?);
        let text = String::from_utf8(octets.ok()?).ok()?;
        let (open, signature) = text.rsplit_once('.')?;
        let is_ours = signer.is_signed("cursor", &format!("{open}\n{scope}"), signature);
        let (sort_us, id) = open.split_once('.').filter(|_| is_ours)?;
        Some(Place { sort_us: sort_us.parse().ok()?, id: id.parse().ok()? })
    };
    read().ok_or_else(|| {
        ApiError::new(Code::InvalidCursor).param("cursor").hint(
            "take `next_cursor` as it is, with the filters and the order of the page it came with",
        )
    })
}
