//! The text around calls: without the blanks next to them.

use super::super::Part;

/// Text that is told but for blanks that a call may follow.
#[derive(Debug, Default)]
pub(super) struct Prose {
    /// Blanks that came last. They are part of the text if more of it follows.
    blanks: String,
    /// The last thing that was told is a call.
    behind: bool,
}

impl Prose {
    /// True if some of what came is not told yet.
    pub(super) fn holds(&self) -> bool {
        !self.blanks.is_empty()
    }

    /// Tell what of a text is certain.
    pub(super) fn text(&mut self, text: &str, parts: &mut Vec<Part>) {
        let said = text.trim_end();
        if !said.is_empty() {
            self.say(said, parts);
        }
        self.blanks.push_str(&text[said.len()..]);
    }

    /// Tell all of a text.
    pub(super) fn say(&mut self, text: &str, parts: &mut Vec<Part>) {
        let mut said = std::mem::take(&mut self.blanks);
        said.push_str(text);
        self.behind = false;
        parts.push(Part::Text(said));
    }

    /// A call was told.
    pub(super) fn call(&mut self) {
        self.blanks.clear();
        self.behind = true;
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, parts: &mut Vec<Part>) {
        if !self.behind && !self.blanks.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut self.blanks)));
        }
    }
}
