//! An input in the order in which a kernel's loops read it, kept beside the input.
//!
//! Data types know no instruction set: each kernel packs what it reads, in a type of its own. The
//! packed form that is kept belongs to the kernel that asked first, since a process computes with
//! one instruction set. Another kernel packs for itself, each time.

use std::any::Any;
use std::sync::{Mutex, OnceLock, PoisonError};

type Form = Box<dyn Any + Send + Sync>;

/// The packed form of an input, as soon as a kernel asked for it.
#[derive(Default)]
pub(crate) struct Packed {
    form: OnceLock<Form>,
    /// That of the input's contents before these: the next form takes its memory.
    old: Mutex<Option<Form>>,
}

impl Packed {
    /// The input has other contents now.
    pub(crate) fn reset(&mut self) {
        if let Some(form) = self.form.take() {
            let old = self.old.get_mut();
            *old.unwrap_or_else(PoisonError::into_inner) = Some(form);
        }
    }

    /// The form `P`, which `pack` makes where it is not there yet; in `own` where another is kept.
    #[inline]
    pub(crate) fn get<'a, P: Default + Send + Sync + 'static>(
        &'a self,
        own: &'a mut P,
        pack: impl Fn(&mut P),
    ) -> &'a P {
        let form = self.form.get_or_init(|| {
            let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
            let old = old.take().and_then(|old| old.downcast::<P>().ok());
            let mut form = old.unwrap_or_default();
            pack(&mut form);
            form
        });
        match form.downcast_ref() {
            Some(form) => form,
            None => {
                pack(own);
                own
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_made_once_for_each_contents() {
        let mut packed = Packed::default();
        for contents in 0..3u32 {
            packed.reset();
            let (mut first, mut second) = (Vec::new(), Vec::new());
            let form = packed.get(&mut first, |form: &mut Vec<u32>| form.push(contents));
            let expected: Vec<u32> = (0..=contents).collect();
            assert_eq!(*form, expected, "the memory is kept");
            let again = packed.get(&mut second, |_| panic!("there already"));
            assert!(std::ptr::eq(form, again));
        }
    }

    #[test]
    fn another_kernel_packs_for_itself() {
        let packed = Packed::default();
        packed.get(&mut 0u8, |form| *form = 7);
        let mut own = 0u16;
        assert_eq!(*packed.get(&mut own, |form| *form = 9), 9);
        assert_eq!(*packed.get(&mut 0u8, |_| panic!("there already")), 7);
    }
}
