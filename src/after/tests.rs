mod shapes;
mod work;
