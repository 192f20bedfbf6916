"""How large things from outside may be: stated here, with the reason, and looked at before anything is made of them.

A result, a bundle or a mask may come from anybody. The largest open models (Llama 3.1 405B: 126 layers x 128 heads) and
the largest honest bundle (14 tasks x 3 numbers of shots, all kinds, for OPT-66B's 64 layers x 72 heads: about 2,000
results and 1 GiB of JSON) pass each of these with room to spare.
"""

LAYERS = 1_000  # of a model; the deepest open ones have 126
HEADS_PER_LAYER = 1_000  # the widest have 128
HEADS = 2**16  # of a model, all layers together: four times the largest; a page makes an object of each
NUMBER = 2**53  # whole numbers beyond are not the same in every program that reads JSON, nor do tables hold them
NAME = 500  # characters of a model's or a task's name, revision or digest; file systems stop at 255
SHOTS = 10_000
DRAWS = 1_000  # of demonstrations, over which queries are spread; a handful is usual
SEQUENCES = 1_000_000  # random sequences behind an induction score

MASK_TEXT = 2**20  # characters: every head of the largest model, one by one, takes 600,000
MASK_NAMES = 2 * HEADS  # components that one mask names: no more than there are, said twice
MASKS_KEPT = 2**20  # heads that masks which are kept in memory name together: some 50 MB
MASK_SIZES_TEXT = 2**26  # characters of masks whose sizes are kept in memory; and of masks that were written out lately
MASK_PROBLEMS = 20  # sentences about what a mask's text does not say; the rest is counted
RANKING_TEXT = 10_000  # characters: 14 tasks of 500 characters

RESULT_BYTES = 2**27  # of one result as JSON: mean activations of Llama 3.1 405B take 50 MiB
RESULT_LISTS = 2**20  # lists and objects in it, each 64 bytes or more in memory: an oracle of 4,608 heads has 10,000
RESULT_NUMBERS = 2**24  # in arrays of it: those of Llama 3.1 405B's heads, times 100 questions, thrice, are 5 million
UNIT_BYTES = 2**21  # of a result's description: one mask, or a ranking by many tasks
MODEL_BYTES = 2**14  # of a model's own record: a dozen numbers and names
SHIPPED_BYTES = 2**30  # of one file of shipped results, which holds all of a kind
SHIPPED_LISTS = 2**24

BUNDLE_ENTRIES = 50_000  # 25 times the largest honest bundle
BUNDLE_BYTES = 2**32  # of all of a bundle's results as JSON: four times the largest honest bundle
MANIFEST_BYTES = 2**25  # of a bundle's manifest: 600 bytes for each of the entries
HUB_BYTES = 2**30  # of a bundle on the hub, as the zip that it is: three times the largest honest one
DIRECTORY_BYTES = BUNDLE_ENTRIES * 200  # of the zip's own table, which is read whole before anything else

# Of a demo (`backend.demo`), where anybody may come in; the first three can be set, see `runs.queue.Limits`.
DEMO_QUESTIONS = 200  # of one evaluation: the bundled model answers them in two seconds
DEMO_WAITING = 200  # results that one visitor may wait for: 14 tasks at 3 numbers of shots, four times
DEMO_PROMPT = 2000  # characters of a prompt and its options: more than the bundled model can read
DEMO_SESSIONS = 60  # visitors at a time, two classes: each holds a few megabytes and four open files
MESSAGE_MEGABYTES = 2  # of what a browser may send at once: a mask of every head of the largest model takes 0.6
