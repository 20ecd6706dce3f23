"""Which names are left and right of one another, against a table written by hand."""

import unicodedata

import pytest

from invseg_jax.data.batches.sides import side_pairs

PAIRS = [
    ("left_kidney", "right_kidney"),
    ("kidney_left", "kidney_right"),
    ("LEFT KIDNEY", "RIGHT KIDNEY"),
    ("Left kidney", "right Kidney"),
    ("Kidney (L)", "Kidney (R)"),
    ("kidney-l", "kidney-r"),
    ("L kidney", "R kidney"),
    ("kidneyL", "kidneyR"),
    ("LKidney", "RKidney"),
    ("LeftKidney", "RightKidney"),
    ("kidneyLeft", "kidneyRight"),
    ("leftkidney", "rightkidney"),
    ("kidneyleft", "kidneyright"),
    ("LEFTKIDNEY", "RIGHTKIDNEY"),
    ("left", "right"),
    ("L", "R"),
    ("lung_upper_lobe_left", "lung_upper_lobe_right"),
    ("rib_left_12", "rib_right_12"),
    ("gluteus_maximus_left", "gluteus_maximus_right"),
    ("iliac_artery_left", "iliac_artery_right"),
    ("Left-Hippocampus", "Right-Hippocampus"),
    ("Left-Cerebral-White-Matter", "Right-Cerebral-White-Matter"),
    ("lh.cortex", "rh.cortex"),
    ("ctx-lh-bankssts", "ctx-rh-bankssts"),
    ("ctx_lh_G_and_S_frontomargin", "ctx_rh_G_and_S_frontomargin"),
    ("LHCortex", "RHCortex"),
    ("L_V1_ROI", "R_V1_ROI"),
    ("hippocampus_lt", "hippocampus_rt"),
    ("Parotid LFT", "Parotid RGT"),
    ("left hand, left", "right hand, right"),
    ("Niere links", "Niere rechts"),
    ("linke Niere", "rechte Niere"),
    ("linker Lungenflügel", "rechter Lungenflügel"),
    ("Linksventrikel", "Rechtsventrikel"),
    ("Niere_li", "Niere_re"),
    ("linkernier", "rechternier"),
    ("rein gauche", "rein droit"),
    ("oreillette_gauche", "oreillette_droite"),
    ("riñón izquierdo", "riñón derecho"),
    ("mama izquierda", "mama derecha"),
    ("rinon_izq", "rinon_der"),
    ("rene sinistro", "rene destro"),
    ("mammella sinistra", "mammella destra"),
    ("rene_sx", "rene_dx"),
    ("ren sinister", "ren dexter"),
    ("rim esquerdo", "rim direito"),
    ("mama direita".replace("direita", "esquerda"), "mama direita"),
    ("左肾", "右肾"),
    ("肾(左)", "肾(右)"),
    ("肾左侧", "肾右侧"),
    ("左", "右"),
    ("左海馬", "右海馬"),
    ("左側頭葉", "右側頭葉"),
    ("ひだり_腎臓", "みぎ_腎臓"),
    ("ｌｅｆｔ　ｌｕｎｇ", "ｒｉｇｈｔ　ｌｕｎｇ"),
]

# None of them has a pair in it.
APART = [
    ("background", "anterior", "posterior"),  # of the hippocampus
    ("Anterior", "Posterior", "Whole"),
    ("background", "edema", "non-enhancing tumor", "enhancing tumour"),
    ("whole tumour", "tumour core", "enhancing tumour"),
    ("NCR/NET", "ED", "ET"),
    ("CSF", "GM", "WM"),
    ("left ventricle", "right atrium"),
    ("left_kidney", "kidney"),
    ("left_kidney", "right kidneys"),
    ("left_kidney",),
    ("leftover", "upright"),
    ("leftover", "upright", "over", "up"),
    ("lumen", "rumen"),
    ("lib", "rib"),
    ("liver", "spleen", "river"),
    ("rib_left_1", "rib_right_2"),
    ("rib_left_12", "rib_right_1"),
    ("vertebrae_L1", "vertebrae_T1", "vertebrae_S1"),
    ("liver", "kidney_tumor", "kidney_cyst"),
    ("lesion", "resection"),  # begin with "le" and "re"
    ("bright", "bleft organ"),
    ("left kidney", "rein droit"),  # two languages
    ("lh.cortex", "r.cortex"),
    ("C", "D", "E", "F", "G"),  # French g and d are no words here
    ("upper", "lower"),
    ("ventral", "dorsal"),
    ("copyright", "allright"),
    ("左肾", "右肺"),
    ("", " ", "1", "2"),
]


@pytest.mark.parametrize("left, right", PAIRS)
def test_a_pair(left: str, right: str):
    assert side_pairs(("background", left, "liver", right)) == ((left, right),)
    assert side_pairs(("background", right, "liver", left)) == ((left, right),)
    # Without its counterpart a name has no side.
    assert side_pairs(("background", left, "liver")) == ()
    assert side_pairs(("background", right, "liver")) == ()


@pytest.mark.parametrize("names", APART)
def test_no_pair(names: tuple[str, ...]):
    assert side_pairs(names) == ()


def test_pairs_stand_in_the_order_of_their_left_names():
    names = ("rib_right_2", "rib_left_2", "liver", "kidney_left", "rib_left_1", "rib_right_1")
    assert side_pairs((*names, "kidney_right", "gallbladder")) == (
        ("rib_left_2", "rib_right_2"),
        ("kidney_left", "kidney_right"),
        ("rib_left_1", "rib_right_1"),
    )


def test_an_accent_may_be_a_character_of_its_own():
    composed, taken_apart = (
        unicodedata.normalize(form, "riñón derecho") for form in ("NFC", "NFD")
    )
    assert composed != taken_apart
    left = "riñón izquierdo"
    assert side_pairs((unicodedata.normalize("NFC", left), taken_apart)) == (
        (unicodedata.normalize("NFC", left), taken_apart),
    )


def test_a_hundred_names_are_compared_at_once():
    names = [f"rib_{side}_{number}" for number in range(1, 61) for side in ("left", "right")]
    found = side_pairs(("background", *names, "sternum"))
    assert found == tuple((f"rib_left_{n}", f"rib_right_{n}") for n in range(1, 61))
