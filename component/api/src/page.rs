//! The chat page: three files that are compiled in, load nothing from elsewhere, and talk to `/v1`
//! only.
//!
//! `/` is the page for those who ask for HTML and a plain list of the routes for all others, so
//! that `curl` needs no browser. The files are in `page/` as they are sent; there is no build step.

use crate::{
    engine::Engine,
    http::{Head, Header},
    reply::Reply,
};

/// A file that is part of the page.
#[derive(Debug)]
pub struct File {
    content_type: &'static str,
    text: &'static str,
    /// FNV-1a of `text`; a new build's files have new tags.
    tag: u64,
}

/// The page itself.
pub static INDEX: File = File::new(
    "text/html; charset=utf-8",
    include_str!("../page/index.html"),
);
/// Its looks.
pub static STYLE: File = File::new("text/css; charset=utf-8", include_str!("../page/style.css"));
/// Its behaviour.
pub static SCRIPT: File = File::new(
    "text/javascript; charset=utf-8",
    include_str!("../page/chat.js"),
);

/// Nothing from elsewhere, nothing inline, no frame around it; `data:` is the icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl File {
    const fn new(content_type: &'static str, text: &'static str) -> Self {
        File {
            content_type,
            text,
            tag: fnv1a(text.as_bytes()),
        }
    }

    /// The file, or 304 where the client says that it has it.
    pub fn reply<E: Engine>(&self, head: &Head) -> Reply<E> {
        let tag = Header::entity_tag(self.tag);
        let mut reply = if is_known(head, &tag.value()) {
            Reply::not_modified()
        } else {
            Reply::file(self.content_type, self.text)
        };
        reply.headers.extend([
            tag,
            // Ask each time whether it changed: the answer is usually an empty 304.
            Header::text("cache-control", "no-cache"),
            Header::text("content-security-policy", POLICY),
            Header::text("x-content-type-options", "nosniff"),
            Header::text("referrer-policy", "no-referrer"),
        ]);
        reply
    }
}

/// True if the client prefers HTML to plain text. Browsers name `text/html`; `curl` and the
/// HTTP libraries accept everything and name nothing.
pub fn wants_html(head: &Head) -> bool {
    head.accept
        .as_deref()
        .is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html"))
}

/// RFC 9110, 13.1.2: `If-None-Match` holds tags, perhaps weak ones, or a star.
fn is_known(head: &Head, tag: &str) -> bool {
    let known = head.if_none_match.as_deref().unwrap_or_default();
    known
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*")
}

/// 64-bit FNV-1a (Fowler, Noll, Vo).
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_is_fnv1a() {
        // From the authors' test vectors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_page_is_small_and_keeps_its_own_policy() {
        let bytes: usize = [&INDEX, &STYLE, &SCRIPT]
            .iter()
            .map(|file| file.text.len())
            .sum();
        assert!(bytes < 27_000, "{bytes} bytes");
        for inline in ["<style", " style=", " onclick=", " onload=", "<script>"] {
            assert!(!INDEX.text.contains(inline), "{inline}");
        }
        for html in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
        ] {
            assert!(!SCRIPT.text.contains(html), "{html}");
        }
        // The namespace of SVG is a name; nothing is loaded from it.
        let outside = INDEX.text.replace("http://www.w3.org/2000/svg", "");
        for file in [outside.as_str(), STYLE.text, SCRIPT.text] {
            assert!(
                !file.contains("http:") && !file.contains("https:") && !file.contains("@import")
            );
        }
    }

    #[test]
    fn every_id_the_script_asks_for_is_in_the_page() {
        for part in SCRIPT.text.split("$(\"").skip(1) {
            let id = part.split('"').next().unwrap_or_default();
            assert!(INDEX.text.contains(&format!(" id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn tags_may_be_weak_listed_or_a_star() {
        for (sent, known) in [
            (None, false),
            (Some(""), false),
            (Some("\"b\""), false),
            (Some("\"a\""), true),
            (Some("W/\"a\""), true),
            (Some("\"b\", \"a\""), true),
            (Some("*"), true),
        ] {
            let head = Head {
                if_none_match: sent.map(str::to_owned),
                ..Head::default()
            };
            assert_eq!(is_known(&head, "\"a\""), known, "{sent:?}");
        }
    }
}
