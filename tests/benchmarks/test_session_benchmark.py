def test_a_round_and_a_long_session_of_both_methods(measure):
    (one, many), _ = measure("session")
    names = ["networks", "without a network"]
    assert [row["method"] for row in one["rows"]] == names
    assert [row["method"] for row in many["rows"]] == names
    assert all(row["round"] > 0 and row["peak_mib"] > 50 for row in one["rows"])
    assert all(row["prompts"] == 4 and row["grown_mib"] >= 0 for row in many["rows"])
