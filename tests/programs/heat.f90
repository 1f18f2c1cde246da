! Heat conduction on a plate: arrays, formatted input and output, and the Fortran run-time library.
program heat
  implicit none
  integer :: n, steps, step, io
  real(8), allocatable :: t(:, :), next(:, :)
  character(len=32) :: label

  read (*, *, iostat=io) n, steps, label
  if (io /= 0) stop 4
  allocate (t(n, n), next(n, n))
  t = 0
  t(1, :) = 100
  next = t
  do step = 1, steps
    next(2:n-1, 2:n-1) = 0.25d0 * (t(1:n-2, 2:n-1) + t(3:n, 2:n-1) + t(2:n-1, 1:n-2) + t(2:n-1, 3:n))
    t = next
  end do
  write (*, '(a,1x,f12.6,1x,es14.6)') trim(label), sum(t) / n**2, maxval(t(n/2, :))
  open (unit=10, file='heat.out', status='replace')
  write (10, '(8f10.4)') t(:, n/2)
  close (10)
end program heat
