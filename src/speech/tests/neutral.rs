//! Languages without words of their own: what no language needs goes, the rest stays.

use super::check;

#[test]
fn other_languages_lose_markup_only() {
    let rows = [
        ("**Bonjour** 😀, il est 14:30.", "Bonjour, il est 14:30."),
        ("- 5 € pour [vous](https://example.fr)", "5 € pour vous"),
        ("Écrivez à jane@example.fr !", "Écrivez à jane@example.fr!"),
        ("<b>Oui</b> `non` snake_case", "Oui non snake case"),
        ("# Titre", "Titre"),
        ("| a | b |", "a, b"),
        ("你好！**世界** 🌍", "你好！世界"),
        ("नमस्ते क्\u{200d}ष", "नमस्ते क्\u{200d}ष"),
        ("1 000 €", "1 000 €"),
        ("#5 <5 ~5", "5 5 5"),
    ];
    for language in ["fr", "zh-CN", "", "x-unknown"] {
        check(language, &rows);
    }
}
