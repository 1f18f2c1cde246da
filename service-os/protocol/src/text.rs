//! Text of the operating system: bytes that are usually UTF-8, but need not be.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// An argument, a path, a variable. In JSON a string if it is UTF-8, else a list of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Json", into = "Json")]
pub struct Text(pub OsString);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<Json> for Text {
    fn from(json: Json) -> Text {
        Text(match json {
            Json::Utf8(text) => text.into(),
            Json::Bytes(bytes) => OsString::from_vec(bytes),
        })
    }
}

impl From<Text> for Json {
    fn from(text: Text) -> Json {
        match text.0.into_string() {
            Ok(text) => Json::Utf8(text),
            Err(other) => Json::Bytes(other.into_vec()),
        }
    }
}

impl<T: AsRef<OsStr>> From<T> for Text {
    fn from(text: T) -> Text {
        Text(text.as_ref().to_owned())
    }
}

impl Text {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::{OsString, Text};

    #[test]
    fn all_bytes_travel() {
        for bytes in [&b"plain"[..], b"", b"\xff\xfe not text", "größe".as_bytes()] {
            let text = Text(OsString::from_vec(bytes.to_vec()));
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text, "{json}");
        }
    }
}
