//! Distinct people for the places of one alternative: a maximum matching of approvers to needs.
//!
//! Somebody in two groups may stand for either, never for both at once. Augmenting paths (Kuhn's method) find the most
//! places that can be filled; needs are few (at most 8) and people are counted in dozens.

use super::needs::Need;
use crate::bundle::Group;
use crate::id::MemberId;

/// How many places of every need can be filled at the same time by different people.
pub(crate) fn filled<'a>(
    needs: &[Need],
    groups: &[Group],
    people: impl Iterator<Item = &'a MemberId>,
) -> Vec<usize> {
    let mut places: Vec<Places<'_>> = needs
        .iter()
        .map(|need| Places {
            group: groups.iter().find(|g| g.id == need.group),
            room: usize::from(need.count),
            taken: Vec::new(),
        })
        .collect();
    for person in people {
        let mut seen = vec![false; places.len()];
        seat(&mut places, person, &mut seen);
    }
    places.into_iter().map(|p| p.taken.len()).collect()
}

struct Places<'a> {
    group: Option<&'a Group>,
    room: usize,
    taken: Vec<&'a MemberId>,
}

impl Places<'_> {
    fn admits(&self, person: &MemberId) -> bool {
        self.group.is_some_and(|g| g.members.contains(person))
    }
}

/// Finds a place for a person, moving others to their other groups where that makes room. Depth is bounded by the number of
/// needs, because each is seen once.
fn seat<'a>(places: &mut [Places<'a>], person: &'a MemberId, seen: &mut [bool]) -> bool {
    for i in 0..places.len() {
        let (Some(here), Some(visited)) = (places.get_mut(i), seen.get_mut(i)) else {
            continue;
        };
        if *visited || !here.admits(person) {
            continue;
        }
        *visited = true;
        if here.taken.len() < here.room {
            here.taken.push(person);
            return true;
        }
        let seated = here.taken.clone();
        for (k, other) in seated.into_iter().enumerate() {
            if seat(places, other, seen) {
                // The other sits elsewhere now. Nobody else moved here meanwhile: this need is seen.
                if let Some(place) = places.get_mut(i).and_then(|p| p.taken.get_mut(k)) {
                    *place = person;
                }
                return true;
            }
        }
    }
    false
}
