//! What the files of the embedded store hold after an erasure: nothing of the erased rows.

use std::fs;

use timeline::row::IdKind;
use timeline::store::{Place, Store};

use crate::sample::{batch, command, customer, found, key};
use crate::sqlite::folder::Embedded;

const ERASED: &str = "4915112345678";

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_store_has_a_byte_of_an_erased_row() {
    let embedded = Embedded::new();
    let store = embedded.store().await;
    let rows = (1..=500u64).map(|number| {
        let number_of = if number % 7 == 0 { ERASED } else { "4915187654321" };
        let row = command(number, i64::try_from(number).unwrap() * 1000).to(number_of);
        let row = row.link(IdKind::Command, &format!("c-{number}"));
        row.body(&format!("{{\"text\":\"words for {number_of}\"}}"))
    });
    store.append(batch(rows)).await.unwrap();
    store.close_days(std::time::Duration::ZERO).await.unwrap();
    let hash = customer(ERASED).0;
    let id = key("c-7").0;
    let text = format!("words for {ERASED}");
    let needles: [&[u8]; 3] = [text.as_bytes(), &hash, &id];
    assert!(needles.iter().all(|needle| holds(&embedded, needle)), "they are there before");
    let mut places = Vec::new();
    for number in (7..=500).step_by(7) {
        places.extend(found(&store, &format!("c-{number}")).await.iter().map(Place::of));
    }
    let erased = store.erase(places).await.unwrap();
    assert_eq!((erased.rows, erased.remains.len()), (71, 0), "{:?}", erased.remains);
    for needle in needles {
        assert!(!holds(&embedded, needle), "{}", String::from_utf8_lossy(needle));
    }
    assert_eq!(found(&store, "c-8").await.len(), 1);
}

/// Whether any file of the store holds these bytes.
fn holds(embedded: &Embedded, needle: &[u8]) -> bool {
    fs::read_dir(embedded.path()).unwrap().any(|file| {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}
