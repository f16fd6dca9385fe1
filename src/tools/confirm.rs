//! Whether the caller agreed: a spoken yes to a question, by the words of their language.
//!
//! It is asked of the words themselves and not of the model, because the model is whom it guards against.
//! A doubt is a no: then the agent asks again.

/// Words of agreement and of refusal, lower case; several words stand with one blank between them.
struct Words {
    language: &'static str,
    yes: &'static [&'static str],
    no: &'static [&'static str],
}

const WORDS: &[Words] = &[
    Words {
        language: "en",
        yes: &[
            "yes",
            "yeah",
            "yep",
            "yup",
            "sure",
            "ok",
            "okay",
            "correct",
            "right",
            "absolutely",
            "definitely",
            "certainly",
            "of course",
            "go ahead",
            "please do",
            "do it",
            "sounds good",
            "that is fine",
            "that's fine",
            "perfect",
            "confirmed",
            "i confirm",
            "affirmative",
        ],
        no: &[
            "no", "nope", "not", "don't", "dont", "do not", "wait", "stop", "cancel", "wrong",
            "never", "hold on", "nah", "isn't", "won't", "can't",
        ],
    },
    Words {
        language: "de",
        yes: &[
            "ja",
            "jawohl",
            "genau",
            "richtig",
            "stimmt",
            "gerne",
            "gern",
            "klar",
            "sicher",
            "okay",
            "ok",
            "natürlich",
            "passt",
            "einverstanden",
            "in ordnung",
            "machen sie das",
            "bitte",
        ],
        no: &[
            "nein",
            "nee",
            "nicht",
            "kein",
            "keine",
            "falsch",
            "stopp",
            "stop",
            "moment",
            "warten",
            "abbrechen",
        ],
    },
    Words {
        language: "fr",
        yes: &[
            "oui",
            "ouais",
            "d'accord",
            "exactement",
            "bien sûr",
            "parfait",
            "ok",
            "okay",
            "c'est ça",
            "volontiers",
        ],
        no: &["non", "pas", "attendez", "jamais", "faux", "annulez", "arrêtez"],
    },
    Words {
        language: "es",
        yes: &[
            "sí",
            "si",
            "claro",
            "vale",
            "correcto",
            "de acuerdo",
            "por supuesto",
            "perfecto",
            "exacto",
            "ok",
            "okay",
        ],
        no: &["no", "espere", "espera", "nunca", "incorrecto", "cancele", "cancela", "pare"],
    },
    Words {
        language: "it",
        yes: &[
            "sì",
            "si",
            "certo",
            "va bene",
            "esatto",
            "corretto",
            "d'accordo",
            "perfetto",
            "ok",
            "okay",
        ],
        no: &["no", "non", "aspetti", "aspetta", "mai", "sbagliato", "annulli"],
    },
    Words {
        language: "pt",
        yes: &[
            "sim",
            "claro",
            "certo",
            "correto",
            "está bem",
            "de acordo",
            "perfeito",
            "ok",
            "okay",
            "pode ser",
        ],
        no: &["não", "nao", "espere", "nunca", "errado", "cancele"],
    },
    Words {
        language: "nl",
        yes: &[
            "ja",
            "zeker",
            "klopt",
            "goed",
            "prima",
            "akkoord",
            "natuurlijk",
            "ok",
            "oké",
            "okay",
        ],
        no: &["nee", "niet", "geen", "wacht", "fout", "stop"],
    },
    Words {
        language: "pl",
        yes: &["tak", "oczywiście", "zgadza się", "dobrze", "jasne", "pewnie", "ok", "okay"],
        no: &["nie", "proszę czekać", "źle", "stop"],
    },
];

/// Keys that mean yes, as the turn machine writes them.
const YES_KEY: &str = "pressed 1";

/// Whether `said` is a yes to the question that `asked` holds. A language without words of its own is
/// asked in English ones.
pub fn is_confirmed(language: &str, asked: Option<&str>, said: Option<&str>) -> bool {
    let (Some(asked), Some(said)) = (asked, said) else { return false };
    if !asked.contains(['?', '？', '؟']) {
        return false;
    }
    if said.trim() == YES_KEY {
        return true;
    }
    let primary = language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    let known = WORDS.iter().find(|words| words.language == primary);
    let Some(words) = known.or(WORDS.first()) else { return false };
    let said = format!(" {} ", plain(said));
    let has = |phrase: &&str| said.contains(&format!(" {phrase} "));
    words.yes.iter().any(&has) && !words.no.iter().any(has)
}

/// Lower case, words with one blank between them.
fn plain(text: &str) -> String {
    let lower = text.to_lowercase().replace('’', "'");
    let word = |c: char| c.is_alphanumeric() || c == '\'';
    lower.split(|c| !word(c)).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
