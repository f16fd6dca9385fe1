//! Words by which machines are known, a table a language. Small letters, no punctuation; matched word
//! by word anywhere in what was said.

/// The words of one language.
#[derive(Debug)]
pub struct Phrases {
    /// First subtag of the language's BCP 47 tag.
    pub language: &'static str,
    /// Only an answering machine says this.
    pub machine: &'static [&'static str],
    /// A machine says this, and now and then a person: two of them, or one and a long utterance.
    pub hints: &'static [&'static str],
    /// Only a phone menu says this.
    pub ivr: &'static [&'static str],
    /// Only an assistant that screens calls says this.
    pub screening: &'static [&'static str],
    /// Only a carrier's announcement says this.
    pub carrier: &'static [&'static str],
    /// A person who expects an answer says this.
    pub human: &'static [&'static str],
}

#[rustfmt::skip] // A table of words, not a column.
static ENGLISH: Phrases = Phrases {
    language: "en",
    machine: &[
        "leave a message", "leave me a message", "leave your message", "leave us a message",
        "leave a brief message", "leave a short message", "leave a detailed message",
        "leave a voicemail", "leave your name", "after the tone", "after the beep", "at the tone",
        "at the beep", "record your message", "voicemail", "voice mail", "voice mailbox",
        "mailbox", "answering machine", "can't come to the phone", "cannot come to the phone",
        "can't take your call", "cannot take your call", "unable to take your call",
        "unable to answer", "unable to come to the phone", "can't answer the phone",
        "can't get to the phone", "missed your call", "get back to you as soon",
        "return your call", "call you back as soon", "has been forwarded to",
        "forwarded to an automated", "google subscriber", "is not available to take",
        "not available to take your call",
    ],
    hints: &[
        "you have reached", "you've reached", "not available", "is unavailable",
        "not here right now", "sorry we missed", "sorry i missed", "thank you for calling",
        "thanks for calling", "our office is closed", "currently closed", "our opening hours",
        "we are closed", "away from my desk", "out of the office", "please leave", "at the moment",
    ],
    ivr: &[
        "press one", "press two", "press three", "press four", "press five", "press zero",
        "press 1", "press 2", "press 3", "press 0", "press star", "press pound", "press the pound",
        "press or say", "main menu", "our menu", "menu options", "menu has changed",
        "listen carefully", "your party's extension", "extension number", "dial your party",
        "say or enter", "please enter your", "following options", "para español",
        "calls may be recorded for", "call may be recorded for",
    ],
    screening: &[
        "call screening", "call assist", "screening service", "call may be screened",
        "record your name", "say your name", "state your name", "your name and reason",
        "reason for calling", "reason for your call", "why you're calling", "why you are calling",
        "see if this person is available", "see if they're available",
        "before i try to connect", "before connecting your call", "who is calling and why",
        "virtual assistant answering", "name and the reason",
    ],
    carrier: &[
        "the number you have dialed", "the number you dialed", "the number you have dialled",
        "the number you are calling", "number you have called", "not in service", "no longer in service",
        "has been disconnected", "has been changed", "cannot be completed", "can't be completed",
        "could not be completed", "check the number", "the subscriber you", "the customer you",
        "the mobile you", "is switched off", "is not reachable", "out of coverage",
        "all circuits are busy", "the person you are calling", "not been recognized",
        "not been recognised",
    ],
    human: &[
        "how can i help", "how may i help", "can i help you", "what can i do for you", "speaking",
        "who is this", "who's this", "who's calling", "who is calling", "hello",
    ],
};

#[rustfmt::skip] // A table of words, not a column.
static GERMAN: Phrases = Phrases {
    language: "de",
    machine: &[
        "hinterlassen sie", "hinterlass", "hinterlasse", "nachricht nach dem", "nach dem signalton",
        "nach dem ton", "nach dem piepton", "nach dem signal", "nach dem piep", "signalton",
        "piepton", "mailbox", "anrufbeantworter", "sprachbox", "voicemail", "sprachnachricht",
        "sprechen sie nach", "rufen sie zurück", "rufe sie zurück", "rufe zurück",
        "rufen wir sie zurück", "rufen wir zurück", "persönlich nicht erreichbar",
        "nicht ans telefon", "nicht persönlich entgegennehmen", "anruf nicht entgegennehmen",
    ],
    hints: &[
        "der anschluss von", "sie haben den anschluss", "sind verbunden mit",
        "derzeit nicht erreichbar", "zurzeit nicht erreichbar", "zur zeit nicht erreichbar",
        "momentan nicht erreichbar", "leider nicht da", "nicht zu hause", "nicht im büro",
        "außerhalb unserer", "unsere öffnungszeiten", "vielen dank für ihren anruf",
        "danke für ihren anruf", "leider nicht", "im moment nicht",
    ],
    ivr: &[
        "drücken sie", "wählen sie die", "bitte wählen sie", "die eins", "die zwei", "hauptmenü",
        "sagen sie bitte", "geben sie ihre", "geben sie bitte", "folgenden möglichkeiten",
        "zu schulungszwecken", "zur qualitätssicherung",
    ],
    screening: &[
        "grund ihres anrufs", "grund für ihren anruf", "grund des anrufs", "nennen sie ihren namen",
        "sagen sie ihren namen", "anruffilter", "warum sie anrufen", "anruf wird geprüft",
    ],
    carrier: &[
        "kein anschluss unter", "die gewählte rufnummer", "die von ihnen gewählte",
        "der anschluss ist", "dieser anschluss ist", "nicht vergeben", "ihr gesprächspartner",
        "der gewünschte gesprächspartner", "der teilnehmer ist", "gewünschte teilnehmer",
        "the number you have", "vorübergehend nicht erreichbar",
    ],
    human: &[
        "was kann ich", "wie kann ich", "am apparat", "wer ist da", "wer spricht", "hallo",
        "guten tag",
    ],
};

#[rustfmt::skip] // A table of words, not a column.
static SPANISH: Phrases = Phrases {
    language: "es",
    machine: &[
        "deje un mensaje", "deje su mensaje", "deja un mensaje", "deja tu mensaje",
        "después del tono", "después de la señal", "tras la señal", "al oír la señal",
        "buzón de voz", "buzón", "contestador", "grabe su mensaje",
    ],
    hints: &[
        "ha llamado a", "no puedo atender", "no podemos atender", "no está disponible",
        "en este momento", "gracias por llamar",
    ],
    ivr: &["pulse uno", "pulse el", "marque uno", "marque el", "oprima", "menú principal"],
    screening: &["motivo de su llamada", "diga su nombre", "filtro de llamadas"],
    carrier: &[
        "el número marcado", "el número que ha marcado", "no existe", "apagado o fuera",
        "no se encuentra disponible",
    ],
    human: &["dígame", "diga", "quién es", "en qué puedo", "hola"],
};

#[rustfmt::skip] // A table of words, not a column.
static FRENCH: Phrases = Phrases {
    language: "fr",
    machine: &[
        "laissez un message", "laisser un message", "laissez votre message", "laissez moi un",
        "laissez nous un", "après le bip", "après le signal", "messagerie", "répondeur",
        "bip sonore",
    ],
    hints: &[
        "vous êtes bien", "pas disponible", "je suis absent", "nous sommes absents",
        "pour le moment", "merci de votre appel",
    ],
    ivr: &["tapez un", "tapez 1", "tapez", "appuyez sur", "menu principal"],
    screening: &["raison de votre appel", "motif de votre appel", "dites votre nom"],
    carrier: &[
        "le numéro que vous", "n'est pas attribué", "n'est plus attribué",
        "votre correspondant n'est", "veuillez vérifier le numéro",
    ],
    human: &["allô", "oui allô", "qui est à", "que puis je", "bonjour"],
};

static TABLES: &[&Phrases] = &[&ENGLISH, &GERMAN, &SPANISH, &FRENCH];

/// The words of a BCP 47 tag's language, and those of English, in which carriers announce anywhere.
pub fn phrases(language: &str) -> Vec<&'static Phrases> {
    let tag = language.split(['-', '_']).next().unwrap_or_default();
    let is_wanted = |table: &&&Phrases| {
        table.language == ENGLISH.language || table.language.eq_ignore_ascii_case(tag)
    };
    TABLES.iter().filter(is_wanted).copied().collect()
}
