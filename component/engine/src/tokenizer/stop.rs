//! Stop texts in a stream: nothing that may belong to one is shown before it is known.

/// Looks for stop texts in text that comes in pieces. The stop text that is complete first ends the
/// text before its first character, or after its last; of several complete at the same character, the longest. How the
/// text is cut into pieces changes nothing.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    /// The end of the text so far, where a stop text may have begun.
    held: String,
    stopped: bool,
    /// The stop text is shown too.
    including: bool,
}

/// What one piece of text led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStep {
    /// Text that can be shown.
    pub text: String,
    /// A stop text was found; `text` is the last.
    pub stopped: bool,
}

/// One stop text, searched by Knuth, Morris and Pratt's method.
#[derive(Clone, Debug)]
struct Stop {
    text: Box<[u8]>,
    /// `border[n]`: length of the longest proper prefix of `text[..=n]` that is also its suffix.
    border: Box<[usize]>,
    /// How many bytes of `text` the text so far ends with.
    matched: usize,
}

impl Stop {
    fn new(text: &str) -> Self {
        let text: Box<[u8]> = text.as_bytes().into();
        let mut border = vec![0; text.len()];
        for n in 1..text.len() {
            border[n] = extend(&text, &border, border[n - 1], text[n]);
        }
        Stop {
            text,
            border: border.into(),
            matched: 0,
        }
    }

    /// Take the next byte; true if the stop text is complete.
    fn advance(&mut self, byte: u8) -> bool {
        self.matched = extend(&self.text, &self.border, self.matched, byte);
        self.matched == self.text.len()
    }
}

/// The longest prefix of `text` that a text ends with after `byte`, if it ended with `matched` bytes before.
fn extend(text: &[u8], border: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && text[matched] != byte {
        matched = border[matched - 1];
    }
    if text[matched] == byte {
        matched + 1
    } else {
        0
    }
}

impl StopMatcher {
    /// A matcher at the beginning of a text. Empty stop texts are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| Stop::new(text))
            .collect();
        StopMatcher {
            stops,
            held: String::new(),
            stopped: false,
            including: false,
        }
    }

    /// The same, which shows the stop text too where `including`.
    #[must_use]
    pub fn including(self, including: bool) -> Self {
        StopMatcher { including, ..self }
    }

    /// Take the next piece of text. After a stop text was found, nothing is shown any more.
    pub fn push(&mut self, piece: &str) -> StopStep {
        if self.stopped {
            return StopStep {
                text: String::new(),
                stopped: true,
            };
        }
        self.held.push_str(piece);
        let before = self.held.len() - piece.len();
        for (at, byte) in piece.bytes().enumerate() {
            let complete = self
                .stops
                .iter_mut()
                .filter_map(|stop| stop.advance(byte).then_some(stop.text.len()))
                .max();
            if let Some(length) = complete {
                self.stopped = true;
                let mut text = std::mem::take(&mut self.held);
                let shown = if self.including { length } else { 0 };
                text.truncate(before + at + 1 - length + shown);
                return StopStep {
                    text,
                    stopped: true,
                };
            }
        }
        // A match begins with a character's first byte, so this is a character's boundary.
        let kept = self
            .stops
            .iter()
            .map(|stop| stop.matched)
            .max()
            .unwrap_or(0);
        let held = self.held.split_off(self.held.len() - kept);
        StopStep {
            text: std::mem::replace(&mut self.held, held),
            stopped: false,
        }
    }

    /// End the text: what was held back is no stop text.
    pub fn finish(&mut self) -> String {
        for stop in &mut self.stops {
            stop.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the shortest beginning of `text` that ends with a stop text, without the longest such.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        let boundaries = text.char_indices().map(|(at, c)| at + c.len_utf8());
        for end in boundaries {
            let ending = stops
                .iter()
                .filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
            if let Some(length) = ending.map(String::len).max() {
                return (text[..end - length].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    fn streamed(stops: &[String], pieces: &[String]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops);
        let mut text = String::new();
        let mut stopped = false;
        for piece in pieces {
            let step = matcher.push(piece);
            assert!(!stopped || (step.stopped && step.text.is_empty()));
            stopped = step.stopped;
            text.push_str(&step.text);
        }
        text.push_str(&matcher.finish());
        (text, stopped)
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            stops in prop::collection::vec("[abéß😀]{0,4}", 0..5),
            pieces in prop::collection::vec("[abéß😀]{0,5}", 0..10),
        ) {
            prop_assert_eq!(streamed(&stops, &pieces), naive(&stops, &pieces.concat()));
        }
    }

    #[test]
    fn nothing_of_a_stop_text_is_shown() {
        let mut matcher = StopMatcher::new(&["\nUser:".into(), "END".into()]);
        let step = |text: &str, stopped| StopStep {
            text: text.into(),
            stopped,
        };
        assert_eq!(matcher.push("Hi\n"), step("Hi", false));
        assert_eq!(matcher.push("Us"), step("", false));
        assert_eq!(matcher.push("ual E"), step("\nUsual ", false));
        assert_eq!(matcher.push("N"), step("", false));
        assert_eq!(matcher.push("D, and more"), step("", true));
        assert_eq!(matcher.push("more"), step("", true));
        assert_eq!(matcher.finish(), "");
    }

    #[test]
    fn the_stop_text_is_shown_where_it_is_part_of_the_answer() {
        let mut matcher = StopMatcher::new(&["END".into()]).including(true);
        assert_eq!(matcher.push("the EN").text, "the ");
        let step = matcher.push("D, and more");
        assert_eq!((step.text.as_str(), step.stopped), ("END", true));
    }

    #[test]
    fn what_was_held_back_comes_at_the_end() {
        let mut matcher = StopMatcher::new(&["abc".into()]);
        assert_eq!(matcher.push("xab").text, "x");
        assert_eq!(matcher.finish(), "ab");
    }
}
