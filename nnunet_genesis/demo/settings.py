"""All sizes of the demonstration, chosen so that it takes about ten minutes on two idle CPU cores."""

from nnunet_genesis.demo.synthetic_ct import Split

DATASET_ID = 990
DATASET = "Dataset990_GenesisDemo"
CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlansDemo"
POOL = "archive"
FOLD = 0

# 12 labelled scans (8 train, 4 validate), 24 whose labels nobody drew, 8 held out for the final Dice.
COUNTS: dict[Split, int] = {"labelled": 12, "unlabelled": 24, "test": 8}
TRAINING, VALIDATION = 8, 4

# A small network on small patches (slices, rows, columns): learning tumours within minutes takes many steps, about
# fifteen a second on two idle cores. Larger patches or more features left time for fewer steps, and found no tumours.
PATCH = (24, 24, 24)
BATCH = 2
FEATURES = (8, 16, 32, 64)

PRETRAINING_EPOCHS, PRETRAINING_ITERATIONS = 10, 120
TRAINING_EPOCHS, TRAINING_ITERATIONS = 12, 120
SCHEDULE = f"{TRAINING_EPOCHS}epochs_{TRAINING_ITERATIONS}iters"
PRETRAINED_TRAINER = f"nnUNetTrainerGenesis_{SCHEDULE}"
SCRATCH_TRAINER = f"nnUNetTrainerGenesis_scratch_{SCHEDULE}"

# Seconds for each stage on two idle cores of an AMD EPYC; they only shape the progress bar. Of each training, about 85
# go to nnU-Net's final validation.
EXPECTED_SECONDS = {
    "scans": 16.0,
    "plan": 13.0,
    "preprocess": 9.0,
    "pool": 15.0,
    "pretrain": 90.0,
    "train_pretrained": 200.0,
    "train_scratch": 190.0,
    "predict_pretrained": 28.0,
    "evaluate_pretrained": 5.0,
    "predict_scratch": 28.0,
    "evaluate_scratch": 5.0,
    "report": 5.0,
}
