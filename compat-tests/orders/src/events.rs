//! Orders as a shop would send them: JSON of about 400 bytes, different from one to the next.

const CITIES: [&str; 8] = [
    "Praha",
    "Český Krumlov",
    "České Budějovice",
    "Mělník",
    "Dresden",
    "Hamburg",
    "Ústí nad Labem",
    "Magdeburg",
];
const GOODS: [(&str, u32); 6] = [
    ("dry fly, size 14", 89),
    ("paddle, ash", 1_290),
    ("river map 1:50 000", 179),
    ("canoe, two seats", 24_900),
    ("life vest", 1_690),
    ("dry bag, 40 l", 690),
];

/// Key and value of an order.
pub fn order(number: u64) -> (String, String) {
    let dice = mix(number);
    let pick = |shift: u32, of: usize| (dice >> shift) as usize % of;
    let (city, (goods, price)) = (CITIES[pick(3, CITIES.len())], GOODS[pick(11, GOODS.len())]);
    let (customer, count) = (dice % 50_000, 1 + pick(23, 5));
    let key = format!("customer-{customer}");
    let value = format!(
        concat!(
            r#"{{"order":{},"customer":{},"city":"{}","status":"{}","currency":"CZK","#,
            r#""lines":[{{"sku":"SKU-{:08x}","name":"{}","quantity":{},"unit_price":{}}}],"total":{},"#,
            r#""delivery":{{"method":"{}","street":"Nábřeží {}","postcode":"{:05}"}},"note":"{:016x}{:016x}","#,
            r#""created":"2026-{:02}-{:02}T{:02}:{:02}:{:02}Z"}}"#
        ),
        number,
        customer,
        city,
        ["new", "paid", "packed", "sent"][pick(29, 4)],
        dice as u32,
        goods,
        count,
        price,
        count as u32 * price,
        ["courier", "post", "pickup"][pick(31, 3)],
        1 + pick(37, 200),
        pick(41, 99_999),
        mix(dice),
        mix(dice ^ 1),
        1 + pick(7, 12),
        1 + pick(13, 28),
        pick(17, 24),
        pick(19, 60),
        pick(43, 60),
    );
    (key, value)
}

/// Scatters the bits of a number (SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
