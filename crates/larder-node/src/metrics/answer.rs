//! Answers over HTTP, as all of Larder's servers give them.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answer = Response<Body>;

/// A line of text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = of_type("text/plain; charset=utf-8", whole(format!("{text}\n")));
    *answer.status_mut() = status;
    answer
}

/// A body of this content type.
pub(crate) fn of_type(kind: &'static str, body: Body) -> Answer {
    with(Response::new(body), CONTENT_TYPE, HeaderValue::from_static(kind))
}

/// A body that is there already.
pub(crate) fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

/// The same with one more header.
pub(crate) fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}
