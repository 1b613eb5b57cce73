//! A list that nearly always has one element and then costs no allocation.

/// Zero, one, or seldom more elements.
#[derive(Debug, Clone)]
pub(super) enum Few<T> {
    One([T; 1]),
    /// Without room to grow, because there are millions of these lists.
    Many(Box<[T]>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Box::default())
    }
}

impl<T> Few<T> {
    pub const fn one(element: T) -> Self {
        Self::One([element])
    }

    pub fn push(&mut self, element: T) {
        *self = match std::mem::take(self) {
            Self::Many(elements) if elements.is_empty() => Self::One([element]),
            Self::Many(elements) => {
                let mut elements = elements.into_vec();
                elements.push(element);
                Self::Many(elements.into())
            }
            Self::One([first]) => Self::Many(Box::new([first, element])),
        };
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        match self {
            Self::One([element]) if keep(element) => {}
            Self::One(_) => *self = Self::default(),
            Self::Many(elements) => {
                let mut kept = std::mem::take(elements).into_vec();
                kept.retain(keep);
                *elements = kept.into();
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        match self {
            Self::One(element) => element.iter(),
            Self::Many(elements) => elements.iter(),
        }
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        match self {
            Self::One(element) => element.iter_mut(),
            Self::Many(elements) => elements.iter_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_list_holds() {
        let mut few = Few::default();
        assert!(few.is_empty());
        for element in 1..=3 {
            few.push(element);
            assert_eq!(few.iter().count(), element);
        }
        few.retain(|element| *element != 2);
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [1, 3]);
        few.retain(|_| false);
        assert!(few.is_empty());
        few.push(7);
        few.iter_mut().for_each(|element| *element += 1);
        few.retain(|element| *element == 8);
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [8]);
        few.retain(|_| false);
        assert!(few.is_empty());
    }
}
