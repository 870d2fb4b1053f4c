"""What images have to do with the images nearest to them."""
