"""What filters, trainings and packages make of one image, side by side: results, scores, a table, a picture."""
