//! The `Link` header (RFC 8288), as far as GitHub uses it.

use http::HeaderMap;
use reqwest::Url;

/// Returns the address of the next page, if there is one.
pub(crate) fn next(headers: &HeaderMap) -> Option<Url> {
    let links = headers.get_all(http::header::LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(parts).find_map(|(address, parameters)| {
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|word| word.eq_ignore_ascii_case("next"))
        });
        is_next.then(|| Url::parse(address).ok())?
    })
}

/// Splits a header into addresses and their parameters. A comma may be part of an address.
fn parts(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header
        .split('<')
        .skip(1)
        .filter_map(|part| part.split_once('>'))
        .map(|(address, rest)| (address, rest.trim_end().trim_end_matches(',')))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::LINK};

    use super::*;

    fn check(header: &str, expected: Option<&str>) {
        let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_str(header).expect("a value"))]);
        assert_eq!(next(&headers).as_ref().map(Url::as_str), expected, "{header}");
    }

    #[test]
    fn the_next_page_is_found_among_the_links() {
        let page = "https://api.github.com/user/repos?per_page=100&page=2";
        check(&format!("<{page}>; rel=\"next\", <https://api.github.com/x>; rel=\"last\""), Some(page));
        check(&format!("<https://api.github.com/x>; rel=\"prev\", <{page}>; rel=\"next\""), Some(page));
        check(&format!("<{page}>; rel=next"), Some(page));
        check(&format!("<{page}>; title=\"a,b\"; rel=\"last next\""), Some(page));
        check("<https://api.github.com/a,b>; rel=\"next\"", Some("https://api.github.com/a,b"));
        check(&format!("<{page}>; rel=\"last\", <{page}>; rel=\"first\""), None);
        check("<not a url>; rel=\"next\"", None);
        check("nonsense; rel=\"next\"", None);
        check("", None);
    }
}
