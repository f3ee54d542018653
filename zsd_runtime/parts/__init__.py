"""One image, restored by many processes: a job on disk, of regions that each process does when it comes to them.

OUT/.NAME.parts holds the job (`job.json`), the results, which have no description yet, and a mark for each region that
is done. Whoever finds all regions done writes the coarser levels and the description, and moves the results to OUT.
"""
