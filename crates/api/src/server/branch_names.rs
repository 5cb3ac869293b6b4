//! Suggested branch names, which people can read: `calm-snails-dream`.

use rand::{Rng, RngExt, seq::IndexedRandom};
use session_key::{GitRef, InvalidName};

const ADJECTIVES: &[&str] = &[
    "amber", "bold", "brave", "brisk", "bright", "calm", "clever", "cosy", "crisp", "curious", "daring",
    "deft", "eager", "early", "fair", "fleet", "fond", "free", "fresh", "gentle", "glad", "golden", "grand",
    "green", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "late", "light", "lively",
    "loyal", "lucky", "mellow", "merry", "mild", "misty", "modest", "neat", "nimble", "noble", "patient",
    "plucky", "polite", "proud", "quick", "quiet", "ready", "royal", "rustic", "shy", "silent", "silver",
    "snowy", "steady", "sunny", "swift", "tidy", "tiny", "warm", "wise",
];
const ANIMALS: &[&str] = &[
    "badgers", "bats", "bears", "beavers", "bees", "bison", "cats", "cranes", "crows", "deer", "dolphins",
    "doves", "ducks", "eagles", "elks", "falcons", "ferrets", "finches", "foxes", "frogs", "geckos", "geese",
    "goats", "hares", "hawks", "weasels", "herons", "horses", "ibises", "jays", "koalas", "larks", "lemurs",
    "lions", "lizards", "llamas", "lynxes", "magpies", "martens", "mice", "moles", "moths", "newts",
    "otters", "owls", "pandas", "parrots", "penguins", "ponies", "quails", "rabbits", "ravens", "robins",
    "salmon", "seals", "snails", "sparrows", "storks", "swans", "tigers", "toads", "turtles", "whales",
    "wrens",
];
const VERBS: &[&str] = &[
    "arrive", "bake", "bloom", "build", "camp", "carve", "chat", "cheer", "climb", "cook", "count", "dance",
    "dig", "dive", "doze", "draw", "dream", "drift", "explore", "float", "fly", "forage", "gather", "glide",
    "grow", "hike", "hop", "hum", "jump", "knit", "laugh", "leap", "listen", "march", "nap", "paint", "plan",
    "play", "ponder", "read", "rest", "roam", "row", "run", "sail", "shine", "sing", "skate", "sketch",
    "ski", "smile", "soar", "sow", "stroll", "surf", "swim", "think", "travel", "trot", "wander", "weave",
    "whistle", "wonder", "write",
];

/// Attempts before a number is appended: unless nearly all names are taken, one of them is free.
const ATTEMPTS: usize = 16;

/// Returns a name that is not taken.
///
/// # Errors
/// None in practice: the words are made of letters.
pub(super) fn suggest(rng: &mut impl Rng, is_taken: impl Fn(&str) -> bool) -> Result<GitRef, InvalidName> {
    for _ in 0..ATTEMPTS {
        let name = three_words(rng);
        if !is_taken(&name) {
            return GitRef::parse(&name);
        }
    }
    loop {
        let name = format!("{}-{}", three_words(rng), rng.random_range(2..=u32::MAX));
        if !is_taken(&name) {
            return GitRef::parse(&name);
        }
    }
}

fn three_words(rng: &mut impl Rng) -> String {
    let mut word = |words: &'static [&'static str]| words.choose(rng).copied().unwrap_or("new");
    format!("{}-{}-{}", word(ADJECTIVES), word(ANIMALS), word(VERBS))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ADJECTIVES, ANIMALS, VERBS, suggest};

    #[test]
    fn a_suggestion_is_a_branch_name_of_three_words() {
        for _ in 0..1000 {
            let name = suggest(&mut rand::rng(), |_| false).expect("a branch name");
            let words: Vec<_> = name.as_str().split('-').collect();
            let [adjective, animal, verb] = words[..] else { panic!("{name} is not three words") };
            assert!(
                ADJECTIVES.contains(&adjective) && ANIMALS.contains(&animal) && VERBS.contains(&verb),
                "{name}"
            );
        }
    }

    #[test]
    fn a_taken_name_is_never_suggested() {
        let first_letter_taken = |name: &str| name < "t";
        for _ in 0..200 {
            let name = suggest(&mut rand::rng(), first_letter_taken).expect("a branch name");
            assert!(!first_letter_taken(name.as_str()), "{name}");
        }
    }

    #[test]
    fn a_number_is_appended_when_every_plain_name_is_taken() {
        let plain = |name: &str| name.split('-').count() == 3;
        let name = suggest(&mut rand::rng(), plain).expect("a branch name");
        assert_eq!(name.as_str().split('-').count(), 4, "{name}");
    }

    #[test]
    fn words_are_unique() {
        for words in [ADJECTIVES, ANIMALS, VERBS] {
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        }
    }
}
