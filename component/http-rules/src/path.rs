//! Paths as routes are looked up by: without the differences that change nothing for whoever wrote
//! them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The path's segments, percent-decoded. Empty ones are left out: `//v1/models` and `/v1/models/`
/// are what comes of a base URL that ends with a slash, or of one too many. A `%2F` stays within
/// its segment.
#[must_use]
pub fn segments(path: &str) -> Vec<Cow<'_, str>> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
        .collect()
}

/// The path that [`segments`] stand for. A segment that holds a slash makes it no route's.
#[must_use]
pub fn normal(path: &str) -> String {
    let segments = segments(path);
    segments.iter().fold(String::new(), |path, segment| {
        path + "/" + &segment.replace('/', "%2F")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_too_many_and_encodings_without_need_make_no_difference() {
        for path in [
            "/v1/models",
            "//v1/models",
            "/v1//models",
            "/v1/models/",
            "///v1///models///",
            "/v1/%6dodels",
            "/%76%31/models",
        ] {
            assert_eq!(normal(path), "/v1/models", "{path}");
        }
        for path in ["", "/", "//"] {
            assert_eq!(normal(path), "", "{path}");
        }
    }

    #[test]
    fn other_paths_stay_others() {
        for path in [
            "/v1%2Fmodels",
            "/v1/models%00",
            "/v1/./models",
            "/v1/../v1/models",
            "/v1/models;x",
            "/V1/models",
            "/v1/models%",
            "/v1/%zzmodels",
            "/v1\\models",
            "/v1/models%2F",
            "/v1/%ff",
        ] {
            assert_ne!(normal(path), "/v1/models", "{path}");
        }
        assert_eq!(
            segments("/v1/models/org%2Fdemo/"),
            ["v1", "models", "org/demo"]
        );
    }
}
