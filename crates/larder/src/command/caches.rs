//! ImageCaches and what nodes say of them, as people see them: seen (what the API server has), views (what that means), and the
//! ways to show them. Changes nothing.

mod follow;
mod pace;
mod seen;
mod show;
mod table;
mod view;

pub(super) use follow::follow;
pub(super) use seen::{Scope, list};
pub(super) use show::Show;
pub(super) use table::text;
pub(super) use view::{CacheView, ImageView, NodeView};
