//! The page: HTML, style and script of ours, and plotly.js from the `plotly` crate; nothing from elsewhere.

use std::sync::LazyLock;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const QUICK: &str = include_str!("quick.js");
const WORDS: &str = include_str!("words.js");

/// A file that the page loads.
pub struct Asset {
    /// Its media type.
    pub kind: &'static str,
    pub body: &'static [u8],
}

/// The page, its files named with a digest of their content, so that a browser keeps them for good.
pub fn page() -> String {
    static RENDERED: LazyLock<String> = LazyLock::new(|| {
        let version = |text: &str| blake3::hash(text.as_bytes()).to_hex()[..12].to_owned();
        PAGE.replace("{style}", &version(STYLE))
            .replace("{script}", &version(SCRIPT))
            .replace("{quick}", &version(QUICK))
            .replace("{words}", &version(WORDS))
            .replace("{plotly}", &version(plotly()))
            .replace("{version}", env!("CARGO_PKG_VERSION"))
    });
    RENDERED.clone()
}

/// The file of that name.
pub fn asset(name: &str) -> Option<Asset> {
    let (kind, text) = match name {
        "page.css" => ("text/css; charset=utf-8", STYLE),
        "page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "quick.js" => ("text/javascript; charset=utf-8", QUICK),
        "words.js" => ("text/javascript; charset=utf-8", WORDS),
        "plotly.min.js" => ("text/javascript; charset=utf-8", plotly()),
        _ => return None,
    };
    Some(Asset { kind, body: text.as_bytes() })
}

/// plotly.js: the first script of what the crate offers for offline pages; the second, MathJax, is not needed.
fn plotly() -> &'static str {
    static SOURCE: LazyLock<String> = LazyLock::new(|| {
        let scripts = plotly::Plot::offline_js_sources();
        let start = scripts.find('>').map_or(0, |at| at + 1);
        let end = scripts.find("</script>").unwrap_or(scripts.len());
        scripts[start..end].to_owned()
    });
    &SOURCE
}

#[cfg(test)]
mod tests {
    #[test]
    fn plotly_is_whole() {
        let source = super::plotly();
        assert!(source.starts_with("/**\n* plotly.js v"), "{}", &source[..40]);
        assert!(source.len() > 3_000_000 && !source.contains("MathJax.js"));
    }

    #[test]
    fn nothing_from_elsewhere() {
        let page = super::page();
        assert!(!page.contains('{') && !page.contains("http"), "{page}");
    }
}
