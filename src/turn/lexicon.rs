//! Words that turn-taking listens for, a table a language.
//!
//! All entries are small letters without punctuation; a phrase is matched word by word. A language
//! without a table has no words here, and is judged by punctuation and time alone.

/// The words of one language.
#[derive(Debug)]
pub struct Lexicon {
    /// First subtag of the language's BCP 47 tag.
    pub language: &'static str,
    /// An utterance that ends with one of these goes on: conjunctions, articles, prepositions, fillers.
    pub trailing: &'static [&'static str],
    /// Says "I am listening", not "stop": does not interrupt by itself.
    pub acknowledgements: &'static [&'static str],
    /// Says "stop": interrupts however short it is.
    pub interruptions: &'static [&'static str],
    /// A whole answer to a question that asks for yes or no.
    pub yes_no: &'static [&'static str],
    /// A whole utterance, whatever was asked.
    pub complete: &'static [&'static str],
    /// Digits as they are dictated.
    pub digits: &'static [&'static str],
    /// A question with one of these asks for digits or letters, and of how many, if that is known.
    pub asks_digits: &'static [(&'static str, Option<u8>)],
    /// A question that begins with one of these asks for yes or no.
    pub asks_yes_no: &'static [&'static str],
}

#[rustfmt::skip] // A table of words, not a column.
static ENGLISH: Lexicon = Lexicon {
    language: "en",
    trailing: &[
        "and", "or", "but", "so", "because", "cause", "since", "although", "though", "while",
        "if", "unless", "until", "when", "where", "which", "who", "whose", "that", "than", "then",
        "the", "a", "an", "my", "your", "his", "her", "its", "our", "their", "this", "these",
        "those", "to", "of", "for", "with", "without", "from", "at", "in", "on", "by", "into",
        "onto", "about", "between", "under", "over", "through", "near", "is", "are", "was",
        "were", "am", "be", "i", "we", "they", "he", "she", "i'm", "it's", "we're", "they're",
        "can", "could", "would", "should", "will", "have", "has", "had", "um", "uh", "er", "erm",
        "uhm", "hmm", "like", "well", "also", "plus", "not", "very", "really", "just", "maybe",
        "let's", "would like", "i want", "i need", "i think", "i mean", "you know", "going",
        "trying", "let me see", "let me think", "one moment", "hold on", "hang on", "double",
        "triple",
    ],
    acknowledgements: &[
        "mm", "mhm", "mm hm", "mm hmm", "mmhmm", "uh huh", "uhuh", "hm", "hmm", "ah", "aha", "oh",
        "ok", "okay", "yeah", "yep", "yes", "right", "sure", "alright", "all right", "i see",
        "got it", "gotcha", "fine", "good", "great", "cool", "exactly", "understood", "of course",
        "true", "oh okay", "oh i see", "okay good", "yeah yeah", "okay okay", "that's right",
    ],
    interruptions: &[
        "stop", "wait", "no", "hold on", "hang on", "one moment", "just a moment", "excuse me",
        "sorry", "pardon", "actually", "but", "quiet", "be quiet", "listen", "not that", "hello",
        "cancel", "never mind", "repeat", "again", "help", "operator",
    ],
    yes_no: &[
        "yes", "yeah", "yep", "no", "nope", "sure", "okay", "ok", "correct", "right", "exactly",
        "absolutely", "definitely", "of course", "not really", "no thanks", "no thank you",
        "yes please", "that's right", "that's correct", "yes it is", "no it isn't", "yes i do",
        "no i don't", "i do", "i don't", "please do", "please",
    ],
    complete: &[
        "thank you", "thanks", "thank you very much", "goodbye", "bye", "bye bye", "that's all",
        "that's it", "that is all", "nothing else", "never mind", "i don't know", "no idea",
    ],
    digits: &[
        "zero", "oh", "o", "nought", "one", "two", "three", "four", "five", "six", "seven",
        "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
        "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty", "fifty", "sixty",
        "seventy", "eighty", "ninety", "hundred", "thousand", "double", "triple", "dash", "point",
    ],
    asks_digits: &[
        ("zip code", Some(5)), ("phone number", None), ("telephone number", None),
        ("mobile number", None), ("account number", None), ("card number", Some(16)),
        ("order number", None), ("customer number", None), ("policy number", None),
        ("reference number", None), ("booking number", None), ("confirmation number", None),
        ("serial number", None), ("last four digits", Some(4)), ("social security", Some(9)),
        ("date of birth", None), ("post code", None), ("postcode", None), ("postal code", None),
        ("pin", Some(4)), ("number is", None), ("digits", None), ("spell", None),
    ],
    asks_yes_no: &[
        "is", "are", "was", "were", "do", "does", "did", "have", "has", "can", "could", "will",
        "would", "should", "may", "shall", "am", "isn't", "aren't", "don't",
    ],
};

#[rustfmt::skip] // A table of words, not a column.
static GERMAN: Lexicon = Lexicon {
    language: "de",
    trailing: &[
        "und", "oder", "aber", "denn", "weil", "da", "dass", "daß", "ob", "wenn", "als", "obwohl",
        "während", "bis", "bevor", "nachdem", "sondern", "sowie", "der", "die", "das", "den",
        "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines", "mein", "meine",
        "meinen", "meinem", "meiner", "dein", "ihr", "ihre", "ihren", "unser", "unsere", "kein",
        "keine", "keinen", "dieser", "diese", "dieses", "diesen", "zu", "zum", "zur", "von",
        "vom", "für", "mit", "ohne", "bei", "beim", "nach", "aus", "an", "am", "auf", "in", "im",
        "ins", "um", "über", "unter", "zwischen", "gegen", "durch", "ist", "sind", "war", "waren",
        "bin", "ich", "wir", "er", "sie", "es", "man", "kann", "könnte", "möchte", "will",
        "würde", "soll", "sollte", "habe", "hat", "hatte", "haben", "hätte", "wäre", "äh", "ähm",
        "öh", "hm", "hmm", "also", "ja also", "naja", "na ja", "sehr", "nicht", "noch", "auch",
        "ungefähr", "circa", "etwa", "ich möchte", "ich brauche", "ich glaube", "ich meine",
        "moment", "einen moment", "sekunde", "lassen sie mich", "warten sie", "mal sehen",
        "welche", "welcher", "welches", "wo", "wie",
    ],
    acknowledgements: &[
        "mhm", "mm", "hm", "hmm", "aha", "ah", "ach", "ach so", "achso", "oh", "ok", "okay", "ja",
        "jo", "jaja", "ja ja", "genau", "richtig", "gut", "sehr gut", "alles klar", "klar",
        "stimmt", "verstehe", "ich verstehe", "verstanden", "in ordnung", "prima", "super",
        "schön", "passt", "okay gut", "ja genau", "ja gut", "ah ja", "ach ja",
    ],
    interruptions: &[
        "stopp", "stop", "halt", "nein", "moment", "einen moment", "warten sie", "warte",
        "entschuldigung", "verzeihung", "aber", "ruhe", "hallo", "abbrechen", "nochmal",
        "noch einmal", "wie bitte", "hilfe", "zurück", "vergessen sie es",
    ],
    yes_no: &[
        "ja", "nein", "jo", "nee", "nö", "doch", "klar", "sicher", "genau", "richtig", "stimmt",
        "gerne", "ja bitte", "nein danke", "ja gerne", "ja genau", "natürlich", "auf jeden fall",
        "auf keinen fall", "okay", "ok", "passt", "das stimmt", "das ist richtig", "bitte",
    ],
    complete: &[
        "danke", "vielen dank", "danke schön", "dankeschön", "auf wiederhören", "tschüss",
        "tschüs", "das war alles", "das wäre alles", "das war's", "das ist alles", "sonst nichts",
        "keine ahnung", "weiß ich nicht", "ich weiß es nicht",
    ],
    digits: &[
        "null", "eins", "ein", "zwei", "zwo", "drei", "vier", "fünf", "sechs", "sieben", "acht",
        "neun", "zehn", "elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn",
        "siebzehn", "achtzehn", "neunzehn", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig",
        "siebzig", "achtzig", "neunzig", "hundert", "tausend", "doppel", "strich", "komma", "mal",
    ],
    asks_digits: &[
        ("postleitzahl", Some(5)), ("telefonnummer", None), ("handynummer", None),
        ("rufnummer", None), ("kontonummer", None), ("kundennummer", None),
        ("bestellnummer", None), ("rechnungsnummer", None), ("vertragsnummer", None),
        ("auftragsnummer", None), ("kartennummer", Some(16)), ("geburtsdatum", None),
        ("iban", Some(22)), ("letzten vier ziffern", Some(4)), ("nummer", None),
        ("ziffern", None), ("buchstabieren", None),
    ],
    asks_yes_no: &[
        "ist", "sind", "war", "waren", "haben", "hat", "hatten", "können", "kann", "möchten",
        "wollen", "soll", "sollen", "darf", "dürfen", "würden", "werden", "sprechen", "passt",
        "stimmt", "geht", "brauchen", "gibt",
    ],
};

#[rustfmt::skip] // A table of words, not a column.
static SPANISH: Lexicon = Lexicon {
    language: "es",
    trailing: &[
        "y", "e", "o", "u", "pero", "porque", "que", "si", "cuando", "donde", "como", "el", "la",
        "los", "las", "un", "una", "unos", "unas", "mi", "su", "de", "del", "a", "al", "en",
        "con", "sin", "por", "para", "es", "son", "está", "eh", "em", "este", "pues", "bueno",
        "quiero", "quisiera", "necesito", "tengo", "muy", "no",
    ],
    acknowledgements: &[
        "ajá", "aha", "mm", "mhm", "sí", "si", "ok", "okay", "vale", "claro", "bien", "ya",
        "bueno", "entiendo", "exacto", "perfecto", "de acuerdo", "muy bien", "ah", "oh",
    ],
    interruptions: &[
        "para", "espera", "espere", "no", "un momento", "perdón", "disculpe", "pero", "hola",
        "alto", "cancelar", "otra vez", "ayuda",
    ],
    yes_no: &[
        "sí", "si", "no", "claro", "vale", "correcto", "exacto", "por supuesto", "no gracias",
    ],
    complete: &[
        "gracias", "muchas gracias", "adiós", "hasta luego", "eso es todo", "no sé", "nada más",
    ],
    digits: &[
        "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez",
        "once", "doce", "veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta",
        "ochenta", "noventa", "cien", "mil",
    ],
    asks_digits: &[
        ("número", None), ("teléfono", None), ("código postal", Some(5)),
        ("fecha de nacimiento", None), ("deletrear", None),
    ],
    asks_yes_no: &[
        "es", "está", "tiene", "puede", "quiere", "desea", "le gustaría", "hay", "son",
    ],
};

#[rustfmt::skip] // A table of words, not a column.
static FRENCH: Lexicon = Lexicon {
    language: "fr",
    trailing: &[
        "et", "ou", "mais", "parce", "que", "qui", "si", "quand", "où", "le", "la", "les", "un",
        "une", "des", "du", "de", "mon", "ma", "mes", "votre", "à", "au", "aux", "en", "dans",
        "avec", "sans", "pour", "par", "sur", "est", "sont", "je", "j'ai", "euh", "ben", "alors",
        "donc", "je voudrais", "j'aimerais", "très", "pas", "c'est",
    ],
    acknowledgements: &[
        "mm", "mhm", "hum", "oui", "ouais", "ok", "okay", "d'accord", "bien", "très bien", "ah",
        "je vois", "exact", "exactement", "entendu", "voilà", "parfait", "ah oui", "ah bon",
    ],
    interruptions: &[
        "stop", "attendez", "attends", "non", "un moment", "un instant", "pardon", "excusez moi",
        "mais", "allô", "arrêtez", "annuler", "encore", "aide",
    ],
    yes_no: &[
        "oui", "non", "ouais", "si", "d'accord", "bien sûr", "exact", "oui merci", "non merci",
        "tout à fait",
    ],
    complete: &[
        "merci", "merci beaucoup", "au revoir", "c'est tout", "je ne sais pas", "rien d'autre",
    ],
    digits: &[
        "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix",
        "onze", "douze", "treize", "vingt", "trente", "quarante", "cinquante", "soixante", "cent",
        "mille",
    ],
    asks_digits: &[
        ("numéro", None), ("téléphone", None), ("code postal", Some(5)),
        ("date de naissance", None), ("épeler", None),
    ],
    asks_yes_no: &[
        "est ce", "avez vous", "voulez vous", "pouvez vous", "êtes vous", "souhaitez vous",
    ],
};

static LEXICONS: &[&Lexicon] = &[&ENGLISH, &GERMAN, &SPANISH, &FRENCH];

/// The words of a BCP 47 tag's language, if there are any.
pub fn lexicon(language: &str) -> Option<&'static Lexicon> {
    let tag = language.split(['-', '_']).next().unwrap_or_default();
    LEXICONS.iter().find(|lexicon| lexicon.language.eq_ignore_ascii_case(tag)).copied()
}
