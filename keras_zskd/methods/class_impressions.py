"""Class impressions (Mopuri et al., ECCV 2018), as the ZSKD paper compares them: one-hot targets."""

from keras_zskd.impressions.targets import OneHotTargets
from keras_zskd.methods.method import Method
from keras_zskd.methods.zskd import best_recipe, paper_recipe

CLASS_IMPRESSIONS = Method(
    name="class_impressions",
    needs="the teacher alone",
    gives="a student trained on inputs of which the teacher is certain, one class each",
    reference=(
        "Mopuri, Krishna Uppala, Babu: Ask, Acquire, and Attack: Data-free UAP Generation using "
        "Class Impressions, ECCV 2018"
    ),
    published="",
    presets={"default": best_recipe(OneHotTargets), "paper": paper_recipe(OneHotTargets)},
)
