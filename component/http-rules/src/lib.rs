//! Rules for a request's `Host`, `Origin`, path and key, as functions of text: the native host and
//! the HTTP component apply the same rules.
//!
//! They keep foreign web pages out. A page of any site can make its reader's browser send requests
//! to a server on the reader's own machine, where no firewall stands between. Two things give it
//! away:
//!
//! - a **name** of the page's owner in `Host`, which its DNS has made to mean 127.0.0.1
//!   ([`authority`]);
//! - the page's **origin**, which browsers send with every request that may change something
//!   ([`origin`]).

pub mod authority;
pub mod error_form;
pub mod keys;
pub mod origin;
pub mod path;
pub mod request_id;

pub use authority::{Addresses, AllowedHosts, Authority};
pub use error_form::ErrorForm;
pub use origin::Sender;
