// A Go program: its run-time system starts threads before main.
package main

import "fmt"

func main() {
	fmt.Println("hello from Go")
}
