//! Where in a request the proxy puts a value, as rules seal it and as it is written in one word.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::encoding::plain::check_line;

use super::rules::Header;

/// A place in a request that is no header of its own: in the rules, beside [`Header`].
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Place {
    /// The password of HTTP Basic (RFC 7617).
    Basic {
        /// The user, or whoever the client names.
        user: Option<String>,
    },
    /// A parameter of the query.
    Query {
        /// Its name.
        name: String,
    },
    /// A cookie (RFC 6265, 4.2.1).
    Cookie {
        /// Its name.
        name: String,
    },
}

/// Where the value goes. Written `bearer`, `basic`, `basic:USER`, `header:NAME`, `header:NAME:PREFIX`, `query:NAME`, `cookie:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `Authorization: Bearer` (RFC 6750, 2.1).
    #[default]
    Bearer,
    /// A header.
    Header(Header),
    /// Elsewhere.
    Place(Place),
}

impl Form {
    /// Whether it can stand in a request as it is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Bearer => true,
            Self::Header(header) => header.is_sound(),
            Self::Place(place) => place.is_sound(),
        }
    }
}

impl Place {
    /// Whether it can stand in a request as it is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match self {
            // RFC 7617, 2: a colon would end the user's name.
            Self::Basic { user: Some(user) } => {
                !user.is_empty() && user.is_ascii() && !user.contains(':') && check_line("the user", user, 128).is_ok()
            }
            Self::Basic { user: None } => true,
            Self::Query { name } | Self::Cookie { name } => {
                (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            }
        }
    }
}

impl FromStr for Form {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let form = match (kind, rest) {
            ("bearer", None) => Self::Bearer,
            ("basic", user) => Self::Place(Place::Basic {
                user: user.map(str::to_owned),
            }),
            ("header", Some(rest)) => {
                let (name, prefix) = rest.split_once(':').unwrap_or((rest, ""));
                Self::Header(Header {
                    name: name.to_ascii_lowercase(),
                    prefix: prefix.to_owned(),
                })
            }
            ("query", Some(name)) => Self::Place(Place::Query { name: name.to_owned() }),
            ("cookie", Some(name)) => Self::Place(Place::Cookie { name: name.to_owned() }),
            _ => return Err("it is bearer, basic, basic:USER, header:NAME, header:NAME:PREFIX, query:NAME or cookie:NAME"),
        };
        if form.is_sound() {
            Ok(form)
        } else {
            Err("a name has letters, digits, - _ and . only, 64 at most; a user no colon; a header that is not of the connection")
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Header(Header { name, prefix }) if prefix.is_empty() => write!(f, "header:{name}"),
            Self::Header(Header { name, prefix }) => write!(f, "header:{name}:{prefix}"),
            Self::Place(Place::Basic { user: None }) => f.write_str("basic"),
            Self::Place(Place::Basic { user: Some(user) }) => write!(f, "basic:{user}"),
            Self::Place(Place::Query { name }) => write!(f, "query:{name}"),
            Self::Place(Place::Cookie { name }) => write!(f, "cookie:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_form_is_written_as_it_is_read() {
        for text in [
            "bearer",
            "basic",
            "basic:oauth2",
            "header:x-api-key",
            "header:authorization:token ",
            "query:api_key",
            "cookie:session",
        ] {
            assert_eq!(text.parse::<Form>().unwrap().to_string(), text);
        }
        assert_eq!("header:PRIVATE-TOKEN".parse::<Form>().unwrap().to_string(), "header:private-token");
    }

    #[test]
    fn p7_a_form_that_would_break_a_request_is_refused() {
        for text in [
            "",
            "Bearer",
            "bearer:x",
            "basic:",
            "basic:a:b",
            "basic:a\r\nb",
            "header",
            "header:",
            "header:a b",
            "header:a:x\r\ny: ",
            "header:host",
            "header:content-length",
            "header:transfer-encoding",
            "header:proxy-authorization",
            "header:connection",
            "header:cookie",
            "query",
            "query:",
            "query:a=b",
            "query:a&b",
            "cookie:a;b",
            "cookie:",
            "body:a",
        ] {
            assert!(text.parse::<Form>().is_err(), "{text:?}");
        }
    }
}
